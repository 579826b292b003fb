// HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// `& < > " '` as references, and U+FFFD for what XML cannot hold: control characters but tab and newline, bytes that are
// not UTF-8. The result is safe as text and inside a quoted attribute.
std::string escape_markup(std::string_view text);

// A coordinate with at most two decimals and no trailing zeros: "12.5".
std::string coordinate(double value);

// A page that is one file: nothing is loaded, light and dark, fit to print. `title` is text, `body` markup. `script` is
// the only one that the page's own policy lets a browser run.
std::string html_page(std::string_view title, std::string_view body, std::string_view script = {});

}  // namespace shori
