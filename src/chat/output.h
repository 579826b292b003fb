// What is shown on stdout.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// Writes and flushes. E0512 if stdout takes no more.
void print(std::string_view text);

// For terminals: control characters but newline and tab, which could move the cursor or change its colors, become U+FFFD.
std::string harmless(std::string_view text);

}  // namespace shori
