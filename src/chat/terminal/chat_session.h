// What happens in a chat, line by line.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "shori/chat/run_chat.h"
#include "shori/data/prompt.h"
#include "shori/infer/generate.h"
#include "src/chat/terminal/conversation.h"
#include "src/chat/terminal/interrupts.h"
#include "src/chat/terminal/line_reader.h"
#include "src/chat/terminal/unsaved_copy.h"

namespace shori {

class ChatSession {
 public:
  // What was said is kept in `copy`, unless that is nullptr.
  ChatSession(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options, Interrupts& interrupts,
              LineReader& lines, UnsavedCopy* copy = nullptr);

  // Until the user leaves.
  void run();
  // At the end, however the chat ended: keeps what was not saved, and says where it is.
  void keep_at_end();
  const Conversation& conversation() const { return conversation_; }
  bool has_unsaved_messages() const { return changed_ && conversation_.has_message(); }

 private:
  struct Command {
    std::string_view name, argument, meaning;
    void (ChatSession::*run)(const std::string& argument);
  };
  static std::span<const Command> commands();

  void choose_names();
  void check_max_tokens(std::int64_t tokens) const;
  void greet() const;
  Line read_message();
  void take_input(const Line& line);
  std::string update_copy();
  void keep();
  bool may_leave();
  bool leaves_after(const Line& interrupt);
  void take_line(const std::string& line);
  void take_command(std::string_view line);
  void say(const std::string& typed);
  void report_other_name(const std::string& text) const;

  // What the model says as `name` after `segments`; nullopt if that is nothing.
  std::optional<std::string> make_reply(const std::string& name, std::span<const Segment> segments);
  void reply_as(const std::string& name);
  Reply generate_after(std::span<const Segment> segments, const PromptEnd& end);
  void report_dropped(std::size_t segments);
  void report_stop(const Reply& reply) const;
  std::string storable(const std::string& body) const;
  void show_message(const Segment& message) const;
  const Segment& last_message_or_refuse() const;
  bool confirmed(const std::string& question);

  void retry(const std::string&);
  void undo(const std::string&);
  void edit(const std::string& text);
  void say_as(const std::string& name);
  void go_on(const std::string&);
  void set_hint(const std::string& word);
  void set_preset(const std::string& word);
  void set_value(const std::string& argument);
  void save(const std::string& path);
  void load(const std::string& path);
  void show_context(const std::string&);
  void help(const std::string&);
  void quit(const std::string&);

  std::string settings_text() const;
  void set_name(std::string& name, const std::string& other, const std::string& value, std::string_view command);

  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  Interrupts& interrupts_;
  LineReader& lines_;
  UnsavedCopy* copy_;
  Conversation conversation_;
  ReplySettings reply_;
  std::string as_, me_;
  LengthHint hint_;
  std::uint64_t seed_;
  std::uint32_t replies_ = 0;  // generated so far, those that were taken back too
  std::size_t dropped_ = 0;    // segments that the last prompt left out
  bool changed_ = false;       // since the last save or load
  bool interrupted_once_ = false;
  bool leaves_ = false;
  bool reported_not_kept_ = false;  // since the copy was written last
  bool asked_to_save_ = false;      // by the last line, which would have left with a chat that cannot be kept
};

}  // namespace shori
