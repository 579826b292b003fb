// Progress on stderr: one live line on a terminal, updated at most 10 times per second; otherwise plain lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shori {

class Progress {
 public:
  // Without a terminal at most one line per `plain_interval_seconds` is written; 0 writes every update.
  explicit Progress(double plain_interval_seconds = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::string_view text);  // skipped when it follows the last one too soon
  void live(std::string_view text);    // update() on a terminal, otherwise nothing
  bool is_live_due() const;            // whether live() would show a text now
  void finish(std::string_view text);  // always written; ends the live line

 private:
  bool is_due() const;

  bool terminal_;
  double plain_interval_;
  double last_ = -1;
};

// Progress of work that is measured in bytes: "merging: 1.2 GiB of 13.5 GiB, 184 MB/s, 1 min 06 s left".
class ByteProgress {
 public:
  ByteProgress(std::string what, std::uint64_t total_bytes);
  void add(std::uint64_t bytes) { report(done_ + bytes); }
  void report(std::uint64_t done_bytes);  // since the start
  void finish();                          // "merging: 13.5 GiB in 1 min 15 s, 193 MB/s"

 private:
  std::string what_;
  std::uint64_t total_, done_ = 0;
  double start_;
  Progress progress_{5};
};

// Of the terminal on stderr; 80 where it has none or its width is not known.
std::size_t terminal_columns();
// Whether the locale of the environment says that a terminal shows UTF-8.
bool locale_is_utf8();

double now_seconds();                         // monotonic
std::string format_duration(double seconds);  // "41 s", "3 min 12 s", "2 h 05 min"

}  // namespace shori
