// The live line at the bottom of a terminal, shared by Progress and the log so that neither garbles the other.
#pragma once

#include <string_view>

namespace shori {

bool stderr_is_terminal();
// Replaces the live line; text wider than the terminal is cut.
void show_live_line(std::string_view text);
// Takes the live line away for good.
void end_live_line();
// Writes text that ends in a newline, above the live line if there is one.
void write_above_live_line(std::string_view text);

}  // namespace shori
