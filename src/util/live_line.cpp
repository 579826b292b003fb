#include "src/util/live_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "shori/util/file.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kClear = "\r\x1b[K";

struct LiveLine {
  std::mutex mutex;
  std::string text;
};

LiveLine& live_line() {
  static LiveLine line;
  return line;
}

std::string cut_to_width(std::string_view text) {
  const std::size_t width = terminal_columns() - 1;
  return count_code_points(text) <= width ? std::string(text) : escape_for_log(text, width > 3 ? width - 3 : 0);
}

// A closed terminal must not stop the program, so the result is ignored.
void write_stderr(std::string_view text) { (void)write_all(STDERR_FILENO, text.data(), text.size()); }

}  // namespace

std::size_t terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

void show_live_line(std::string_view text) {
  LiveLine& line = live_line();
  const std::lock_guard lock(line.mutex);
  line.text = cut_to_width(text);
  write_stderr(concat(kClear, line.text));
}

void end_live_line() {
  LiveLine& line = live_line();
  const std::lock_guard lock(line.mutex);
  if (!line.text.empty()) write_stderr(kClear);
  line.text.clear();
}

LiveLinePause::LiveLinePause() : lock_(live_line().mutex) {
  if (!live_line().text.empty()) write_stderr(kClear);
}

LiveLinePause::~LiveLinePause() {
  if (!live_line().text.empty()) write_stderr(live_line().text);
}

}  // namespace shori
