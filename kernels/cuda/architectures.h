// Which cards a program has code for.
#pragma once

#include <string_view>

namespace shori {

// `list` is what was compiled in CMake's words, "80-real,86-real,90-virtual,120". Machine code (real, or no word) runs
// on cards of the same major version and the same or a higher minor one; virtual code on every card from its number on.
bool has_code_for(std::string_view list, int sm_major, int sm_minor);

}  // namespace shori
