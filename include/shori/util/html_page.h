// Pages that are one file: nothing is loaded, light and dark, fit to print.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// `title` is text, `body` markup. `script` is the only one that the page's own policy lets a browser run.
std::string html_page(std::string_view title, std::string_view body, std::string_view script = {});

}  // namespace shori
