#include "shori/util/progress.h"

#include <chrono>
#include <cmath>
#include <cstdio>

#include "shori/util/log.h"
#include "src/util/live_line.h"

namespace shori {
namespace {

constexpr double kTerminalInterval = 0.1;

}  // namespace

Progress::Progress(double plain_interval_seconds)
    : terminal_(stderr_is_terminal()), plain_interval_(plain_interval_seconds) {}

Progress::~Progress() {
  if (terminal_) end_live_line();
}

void Progress::update(std::string_view text) {
  const double now = now_seconds();
  if (last_ >= 0 && now - last_ < (terminal_ ? kTerminalInterval : plain_interval_)) return;
  last_ = now;
  if (terminal_)
    show_live_line(text);
  else
    log_info(text);
}

void Progress::live(std::string_view text) {
  if (terminal_) update(text);
}

void Progress::finish(std::string_view text) {
  if (terminal_) end_live_line();
  log_info(text);
  last_ = -1;
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
