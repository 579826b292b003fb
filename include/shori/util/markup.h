// Text inside HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// `& < > " '` as references, and U+FFFD for what XML cannot hold: control characters but tab and newline, bytes that are
// not UTF-8. The result is safe as text and inside a quoted attribute.
std::string escape_markup(std::string_view text);

// A coordinate with at most two decimals and no trailing zeros: "12.5".
std::string coordinate(double value);

}  // namespace shori
