// Which cards the program has code for.
#pragma once

#include <string_view>

namespace shori {

// `list` names what was compiled, as CMake does: "80-real,86-real,90-virtual,120". Machine code (-real, or no suffix) runs on
// cards of the same major version and the same or a higher minor one. Virtual code (-virtual, or no suffix) runs on every
// card from its number on.
bool has_code_for(std::string_view list, int sm_major, int sm_minor);

}  // namespace shori
