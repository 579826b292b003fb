// Logs of lines `Name: text`. A line without a speaker goes on with the message before it.
#include <string>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"
#include "src/data/sources/log_lines.h"

namespace shori {
namespace {

class LogReader {
 public:
  LogReader(ImportFile& file, std::string_view text)
      : file_(file), text_(text), speakers_(text), builder_(file.options, file.report) {}

  void read() {
    each_line(text_, [this](std::string_view line) { take(line); });
    finish_message();
    if (messages_ == 0) {
      file_.diagnostics.add(Diagnostic("E0312", "no line begins with a speaker")
                                .at(file_.path, 1, 1)
                                .help("wanted: lines `Name: text`; a line without a name goes on with the one before"));
      return;
    }
    ImportedConversation conversation;
    conversation.key = key_of(text_);
    builder_.finish(conversation);
    file_.accept(std::move(conversation));
  }

 private:
  bool is_speaker(std::string_view name) const {
    return file_.options.names.contains(name) || speakers_.contains(name);
  }

  void take(std::string_view line) {
    const std::optional<LogLine> found = read_log_line(line);
    if (found && is_speaker(found->speaker)) {
      finish_message();
      if (found->has_time) count_change(file_.report.changes, "time stamps before speakers removed");
      speaker_ = found->speaker;
      message_ = std::string(trim_blockml(line.substr(found->text_begin)));
      if (!message_.empty()) message_ += '\n';
      open_ = true;
      return;
    }
    if (found)
      note_change(file_.report, "lines with a colon taken as text",
                  concat('`', escape_for_log(found->speaker, 40), ":`"));
    message_.append(line).push_back('\n');
  }

  // Programs write the person at the keyboard so.
  static bool is_user(std::string_view speaker) {
    const std::string name = lower_ascii(speaker);
    return name == "you" || name == "user";
  }

  void finish_message() {
    if (open_) {
      builder_.add_message(speaker_, message_, is_user(speaker_) ? Voice::kUser : Voice::kOther);
      ++messages_;
    } else if (!trim_blockml(message_).empty()) {
      count_change(file_.report.changes, "text before the first speaker made narration");
      builder_.add_message("", message_);
    }
    message_.clear();
  }

  ImportFile& file_;
  std::string_view text_;
  LogSpeakers speakers_;
  ConversationBuilder builder_;
  std::string_view speaker_;
  std::string message_;
  bool open_ = false;
  std::size_t messages_ = 0;
};

}  // namespace

void import_plain(ImportFile& file) {
  if (const std::optional<std::string> text = read_text(file, "the log")) LogReader(file, *text).read();
}

}  // namespace shori
