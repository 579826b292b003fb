// Pasted text in the input of a line editor. Terminals put it between two marks (bracketed paste: xterm's ESC [ ? 2004 h).
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace shori {

// Takes the marks out of what a terminal sends. A new line in a pasted text becomes `\n`, which from_line() makes a new line
// again, so that the text stays one line to edit; those at its end are dropped, a tab is quoted for the editor, and other
// control characters, which would be commands, become U+FFFD. What was typed is not changed.
class PasteFilter {
 public:
  void add(std::uint32_t character);
  bool empty() const { return out_.empty(); }
  std::uint32_t take();
  // After an interrupt: nothing is being pasted, and nothing is left.
  void reset() { *this = PasteFilter(); }

 private:
  void pass(std::uint32_t character);
  void paste(std::uint32_t character);

  std::u32string mark_;  // the characters of a mark that may be under way
  std::deque<std::uint32_t> out_;
  std::size_t new_lines_ = 0;  // that were pasted last
  bool pasting_ = false;
  bool after_return_ = false;  // CR was pasted last: LF after it is the same line end
};

}  // namespace shori
