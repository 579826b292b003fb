// What this program was built from.
#pragma once

namespace shori {

const char* version();  // "0.1.0"
// version + commit + compiler + libtorch version: equal for a rebuild of the same commit, so that a run may be resumed
// by it.
const char* build_id();

}  // namespace shori
