#include "shori/util/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>

#include <memory>
#include <mutex>

#include "shori/util/utf8.h"
#include "src/util/live_line.h"

namespace shori {
namespace {

constexpr spdlog::level::level_enum kDetail = spdlog::level::debug;

// stderr, with the live line kept at the bottom.
class TerminalSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.level == kDetail && stderr_is_terminal()) return;
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    write_above_live_line(std::string_view(text.data(), text.size()));
  }
  void flush_() override {}
};

class Log {
 public:
  Log() : logger_("shori", std::make_shared<TerminalSink>()) {
    logger_.set_pattern("%v");
    logger_.set_level(spdlog::level::trace);
    logger_.flush_on(spdlog::level::trace);
    // A full disk must not stop the run for the sake of its log; it is told once where it can still be seen.
    logger_.set_error_handler([this](const std::string& reason) {
      if (!std::exchange(failure_told_, true)) write_above_live_line("train.log cannot be written: " + reason + "\n");
    });
  }

  // The text is never a format string.
  void write(spdlog::level::level_enum level, std::string_view text) {
    const std::lock_guard lock(mutex_);
    logger_.log(level, spdlog::string_view_t(text.data(), text.size()));
  }

  void set_file(const std::string& path) {
    const std::lock_guard lock(mutex_);
    logger_.sinks().resize(1);
    failure_told_ = false;
    if (path.empty()) return;
    try {
      auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, false);
      sink->set_pattern("%v");
      logger_.sinks().push_back(std::move(sink));
    } catch (const spdlog::spdlog_ex& exception) {
      throw Error(Diagnostic("E0513", "the log file cannot be opened: " + escape_for_log(exception.what(), 400)));
    }
  }

  bool json_errors = false;
  bool warnings_as_errors = false;

 private:
  std::mutex mutex_;
  spdlog::logger logger_;
  bool failure_told_ = false;
};

Log& the_log() {
  static Log log;
  return log;
}

void write_diagnostic(spdlog::level::level_enum level, const Diagnostic& diagnostic) {
  std::string text = the_log().json_errors ? diagnostic_to_json(diagnostic) : format_diagnostic(diagnostic);
  if (text.ends_with('\n')) text.pop_back();
  the_log().write(level, text);
}

}  // namespace

void log_info(std::string_view text) { the_log().write(spdlog::level::info, text); }

void log_detail(std::string_view text) { the_log().write(kDetail, text); }

void log_warning(const Diagnostic& diagnostic) {
  if (the_log().warnings_as_errors) throw Error(diagnostic);
  write_diagnostic(spdlog::level::warn, diagnostic);
}

void log_error(const Diagnostic& diagnostic) { write_diagnostic(spdlog::level::err, diagnostic); }

void set_warnings_as_errors(bool on) { the_log().warnings_as_errors = on; }

void set_json_errors(bool on) { the_log().json_errors = on; }

void set_log_file(const std::string& path) { the_log().set_file(path); }

}  // namespace shori
