// Lines that a user types: edited on a terminal, plain elsewhere.
#pragma once

#include <memory>
#include <string>

#include "src/chat/terminal/interrupts.h"

namespace shori {

struct Line {
  enum class Kind { kText, kInterrupt, kEnd };
  Kind kind = Kind::kEnd;
  std::string text = {};   // valid UTF-8, without the newline
  bool was_empty = false;  // kInterrupt: nothing stood in the line
  bool was_typed = false;  // kInterrupt: something had been typed, which may have been deleted since
};

class LineReader {
 public:
  virtual ~LineReader() = default;
  virtual bool is_terminal() const = 0;
  // `initial` stands in the line at first, where lines can be edited. Ends (kEnd) when a stop is requested (signals.h).
  virtual Line read(const std::string& prompt, const std::string& initial = "") = 0;
};

// For the terminal, or for whatever stdin is if it or stdout is none. History is kept in `history_file`; a file that cannot
// be used is logged once.
std::unique_ptr<LineReader> make_line_reader(Interrupts& interrupts, const std::string& history_file);

}  // namespace shori
