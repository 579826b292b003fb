// The live line at the bottom of a terminal. Progress and the log share it, so that neither overwrites the other.
#pragma once

#include <mutex>
#include <string_view>

namespace shori {

bool stderr_is_terminal();
// Replaces the live line; text wider than the terminal is cut.
void show_live_line(std::string_view text);
// Removes the live line.
void end_live_line();

// While it exists, the live line is cleared and stderr belongs to its owner, who writes whole lines; afterwards the
// live line is drawn again.
class LiveLinePause {
 public:
  LiveLinePause();
  ~LiveLinePause();
  LiveLinePause(const LiveLinePause&) = delete;
  LiveLinePause& operator=(const LiveLinePause&) = delete;

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace shori
