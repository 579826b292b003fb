// What happens in a chat, line by line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "shori/chat/run_chat.h"
#include "shori/data/prompt.h"
#include "shori/infer/generate.h"
#include "src/chat/terminal/conversation.h"
#include "src/chat/terminal/interrupts.h"
#include "src/chat/terminal/line_reader.h"

namespace shori {

class ChatSession {
 public:
  ChatSession(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options, Interrupts& interrupts,
              LineReader& lines);

  // Until the user leaves.
  void run();
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
  bool leaves_after(const Line& interrupt);
  void take_line(const std::string& line);
  void take_command(std::string_view line);
  void say(const std::string& text);

  // The model's next message as `name`, after what `opening` it has already.
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
  void set_name(std::string& name, const std::string& value);

  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  Interrupts& interrupts_;
  LineReader& lines_;
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
};

}  // namespace shori
