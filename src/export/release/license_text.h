// The licence of Mistral 7B, of this project, and the default of a release.
#pragma once

#include <string_view>

namespace shori {

// The text of the Apache License 2.0: the file LICENSE, as it was when this was built.
std::string_view apache_license();

}  // namespace shori
