#include "shori/util/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/util/live_line.h"

namespace shori {
namespace {

constexpr double kTerminalInterval = 0.1;
constexpr double kFirstReport = 0.5;  // seconds: a speed over less means little

std::string speed_text(std::uint64_t bytes, double seconds) {
  return concat(std::llround(static_cast<double>(bytes) / 1e6 / std::max(seconds, 1e-3)), " MB/s");
}

}  // namespace

Progress::Progress(double plain_interval_seconds)
    : terminal_(stderr_is_terminal() && !is_quiet()), plain_interval_(plain_interval_seconds) {}

Progress::~Progress() {
  if (terminal_) end_live_line();
}

void Progress::update(std::string_view text) {
  if (!is_due()) return;
  last_ = now_seconds();
  if (terminal_)
    show_live_line(text);
  else
    log_info(text);
}

void Progress::live(std::string_view text) {
  if (terminal_) update(text);
}

bool Progress::is_live_due() const { return terminal_ && is_due(); }

bool Progress::is_due() const {
  return last_ < 0 || now_seconds() - last_ >= (terminal_ ? kTerminalInterval : plain_interval_);
}

void Progress::finish(std::string_view text) {
  if (terminal_) end_live_line();
  log_info(text);
  last_ = -1;
}

ByteProgress::ByteProgress(std::string what, std::uint64_t total_bytes)
    : what_(std::move(what)), total_(total_bytes), start_(now_seconds()) {}

void ByteProgress::report(std::uint64_t done_bytes) {
  done_ = done_bytes;
  const double seconds = now_seconds() - start_;
  if (seconds < kFirstReport || done_ == 0 || done_ > total_) return;
  const double left = seconds * static_cast<double>(total_ - done_) / static_cast<double>(done_);
  progress_.update(concat(what_, ": ", format_bytes(done_), " of ", format_bytes(total_), ", ",
                          speed_text(done_, seconds), ", ", format_duration(left), " left"));
}

void ByteProgress::finish() {
  const double seconds = now_seconds() - start_;
  progress_.finish(
      concat(what_, ": ", format_bytes(done_), " in ", format_duration(seconds), ", ", speed_text(done_, seconds)));
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string locale = lower_ascii(value);
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "unknown";
  char text[64];
  const long long whole = std::llround(seconds);
  if (seconds < 9.95)
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  else if (whole < 60)
    std::snprintf(text, sizeof text, "%lld s", whole);
  else if (whole < 3600)
    std::snprintf(text, sizeof text, "%lld min %02lld s", whole / 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%lld h %02lld min", whole / 3600, whole / 60 % 60);
  return text;
}

}  // namespace shori
