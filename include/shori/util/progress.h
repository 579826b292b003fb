// One live line on a terminal (at most 10 updates a second), plain lines otherwise. Written to stderr.
#pragma once

#include <string>
#include <string_view>

namespace shori {

class Progress {
 public:
  // `plain_interval_seconds`: how often a plain (non-terminal) line may appear; 0 = every update.
  explicit Progress(double plain_interval_seconds = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::string_view text);  // may be skipped when updates come too fast
  void live(std::string_view text);    // on a terminal as update(), otherwise nothing
  void finish(std::string_view text);  // always shown, ends the live line

 private:
  bool terminal_;
  double plain_interval_;
  double last_ = -1;
};

// Monotonic seconds.
double now_seconds();
std::string format_duration(double seconds);  // "41 s", "3 min 12 s", "2 h 05 min"
std::string format_bytes(double bytes);       // "4.1 GiB"

}  // namespace shori
