#include "shori/util/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/util/live_line.h"

namespace shori {
namespace {

using Level = spdlog::level::level_enum;

// What only the log file shows while a live line runs on the terminal.
constexpr Level kDetail = spdlog::level::debug;
// The lowest level, so that it has no color. Nothing hides it.
constexpr Level kResult = spdlog::level::trace;

struct Choices {
  Verbosity verbosity = Verbosity::kNormal;
  ColorChoice color = ColorChoice::kAuto;
};

Choices& choices() {
  static Choices made;
  return made;
}

// https://no-color.org
bool wants_no_color() {
  const char* value = std::getenv("NO_COLOR");
  return value != nullptr && value[0] != '\0';
}

// The flag `%*` of the pattern: the message. The head of a diagnostic, "error[E0101]", takes the color of its level.
class MessageFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const char *begin = message.payload.data(), *end = begin + message.payload.size();
    if (message.level >= spdlog::level::warn) {
      message.color_range_start = out.size();
      message.color_range_end = out.size() + static_cast<std::size_t>(std::find(begin, end, ':') - begin);
    }
    out.append(begin, end);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<MessageFlag>(); }
};

std::unique_ptr<spdlog::formatter> make_formatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<MessageFlag>('*').set_pattern("%*");
  return formatter;
}

// stderr, with the live line kept at the bottom of a terminal.
class TerminalSink : public spdlog::sinks::ansicolor_stderr_sink_st {
 public:
  void log(const spdlog::details::log_msg& message) override {
    if (is_hidden(message.level)) return;
    set_color_mode(color_mode());
    const LiveLinePause pause;
    spdlog::sinks::ansicolor_stderr_sink_st::log(message);
  }

  bool colors = true;

 private:
  static bool is_hidden(Level level) {
    const Verbosity verbosity = choices().verbosity;
    if (verbosity == Verbosity::kQuiet && level != kResult && level < spdlog::level::warn) return true;
    return level == kDetail && verbosity != Verbosity::kVerbose && stderr_is_terminal();
  }
  spdlog::color_mode color_mode() const {
    const ColorChoice choice = choices().color;
    if (!colors || choice == ColorChoice::kNever) return spdlog::color_mode::never;
    if (choice == ColorChoice::kAlways) return spdlog::color_mode::always;
    return wants_no_color() ? spdlog::color_mode::never : spdlog::color_mode::automatic;
  }
};

class Log {
 public:
  Log() : terminal_(std::make_shared<TerminalSink>()), logger_("shori", terminal_) {
    terminal_->set_formatter(make_formatter());
    logger_.set_level(spdlog::level::trace);
    logger_.flush_on(spdlog::level::trace);
    // A full disk must not stop the run because of its log. It is reported once, where it can still be seen.
    logger_.set_error_handler([this](const std::string& reason) {
      if (std::exchange(failure_reported_, true)) return;
      const LiveLinePause pause;
      const std::string line = concat("train.log cannot be written: ", reason, "\n");
      (void)write_all(STDERR_FILENO, line.data(), line.size());
    });
  }

  // `text` is never a format string.
  void write(Level level, std::string_view text) {
    const std::lock_guard lock(mutex_);
    logger_.log(level, spdlog::string_view_t(text.data(), text.size()));
    if (logger_.sinks().size() == 1 && !had_file_ && before_file_.size() < kMostBeforeFile)
      before_file_ += concat(text, "\n");
  }

  void write(const Diagnostic& diagnostic) {
    std::string text = json_errors_ ? diagnostic_to_json(diagnostic) : format_diagnostic(diagnostic);
    if (text.ends_with('\n')) text.pop_back();
    write(diagnostic.severity == Severity::kError ? spdlog::level::err : spdlog::level::warn, text);
  }

  void set_file(const std::string& path) {
    const std::lock_guard lock(mutex_);
    logger_.sinks().resize(1);
    failure_reported_ = false;
    if (path.empty()) return;
    try {
      auto file = std::make_shared<spdlog::sinks::basic_file_sink_st>(path, false);
      file->set_formatter(make_formatter());
      write_head(*file);
      had_file_ = true;
      logger_.sinks().push_back(std::move(file));
    } catch (const spdlog::spdlog_ex& exception) {
      throw Error(Diagnostic("E0513", "the log file cannot be opened: " + escape_for_log(exception.what(), 400)));
    }
  }

  void set_json_errors(bool on) {
    json_errors_ = on;
    terminal_->colors = !on;
  }
  bool writes_json_errors() const { return json_errors_; }

  bool warnings_as_errors = false;
  std::size_t warnings = 0;

 private:
  std::mutex mutex_;
  std::shared_ptr<TerminalSink> terminal_;
  spdlog::logger logger_;
  // A full disk is reported with the next line.
  void write_head(spdlog::sinks::sink& file) const {
    if (before_file_.empty()) return;
    const spdlog::string_view_t head(before_file_.data(), before_file_.size() - 1);
    try {
      file.log(spdlog::details::log_msg("shori", spdlog::level::info, head));
      file.flush();
    } catch (const spdlog::spdlog_ex&) {
    }
  }

  static constexpr std::size_t kMostBeforeFile = 4u << 20;
  std::string before_file_;  // the start, which belongs to each stage
  bool had_file_ = false;
  bool json_errors_ = false;
  bool failure_reported_ = false;
};

Log& the_log() {
  static Log log;
  return log;
}

}  // namespace

bool wants_color(int descriptor) {
  if (choices().color != ColorChoice::kAuto) return choices().color == ColorChoice::kAlways;
  return isatty(descriptor) == 1 && !wants_no_color();
}

void log_info(std::string_view text) { the_log().write(spdlog::level::info, text); }

void log_detail(std::string_view text) { the_log().write(kDetail, text); }

void log_result(std::string_view text) { the_log().write(kResult, text); }

void log_screen(std::string_view text) {
  if (!stderr_is_terminal() || choices().verbosity != Verbosity::kNormal) return;
  const LiveLinePause pause;
  const std::string line = concat(text, "\n");
  (void)write_all(STDERR_FILENO, line.data(), line.size());
}

void set_verbosity(Verbosity verbosity) { choices().verbosity = verbosity; }

bool is_quiet() { return choices().verbosity == Verbosity::kQuiet; }

bool is_verbose() { return choices().verbosity == Verbosity::kVerbose; }

void set_color_choice(ColorChoice choice) { choices().color = choice; }

void log_warning(const Diagnostic& diagnostic) {
  if (the_log().warnings_as_errors) throw Error(diagnostic);
  if (diagnostic.severity == Severity::kWarning) ++the_log().warnings;
  the_log().write(diagnostic);
}

std::size_t warning_count() { return the_log().warnings; }

void log_error(const Diagnostic& diagnostic) { the_log().write(diagnostic); }

void set_warnings_as_errors(bool on) { the_log().warnings_as_errors = on; }

void set_json_errors(bool on) { the_log().set_json_errors(on); }
bool writes_json_errors() { return the_log().writes_json_errors(); }

void set_log_file(const std::string& path) { the_log().set_file(path); }

}  // namespace shori
