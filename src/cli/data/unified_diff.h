// The difference of two texts as people read it.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// A unified diff with three lines of context; empty for equal texts. Control characters are escaped.
std::string unified_diff(std::string_view name, std::string_view before, std::string_view after);

}  // namespace shori
