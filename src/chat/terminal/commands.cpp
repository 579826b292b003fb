// The commands of a chat.
#include <algorithm>

#include "shori/infer/sampler_presets.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"
#include "src/chat/output.h"
#include "src/chat/terminal/chat_session.h"
#include "src/chat/terminal/message_text.h"

namespace shori {
namespace {

Error misuse(const std::string& message, const std::string& help) {
  return Error(Diagnostic("E0116", message).help(help));
}

template <typename Words>
Error unknown_word(std::string_view command, const std::string& word, const Words& words) {
  const std::string similar = find_similar_name(word, words);
  return misuse(concat("`/", command, " ", escape_for_log(word), "`: choose one of ", join_words(words)),
                concat("/", command, " ", similar.empty() ? std::string(words.front()) : similar));
}

std::string path_of(const std::string& command, const std::string& written) {
  if (written.empty()) throw misuse(concat("`/", command, "` needs a file"), concat("/", command, " chat.blockml"));
  const UserPath path = expand_user_path(written);
  if (!path.problem.empty()) throw Error(Diagnostic("E0118", path.problem));
  return path.path;
}

}  // namespace

std::span<const ChatSession::Command> ChatSession::commands() {
  static constexpr Command kCommands[] = {
      {"retry", "", "another reply in place of the last one", &ChatSession::retry},
      {"undo", "", "take the last message back, whoever wrote it", &ChatSession::undo},
      {"edit", "[TEXT]", "another text for the last message; without TEXT it is edited in the line",
       &ChatSession::edit},
      {"say", "NAME", "the model writes the next message as NAME", &ChatSession::say_as},
      {"continue", "", "the model goes on with the last message", &ChatSession::go_on},
      {"hint", "WORD", "length of the next replies: none, nano, micro ... enormous", &ChatSession::set_hint},
      {"preset", "NAME", "sampler settings: main, alternative-1, alternative-2", &ChatSession::set_preset},
      {"set", "[NAME VALUE]", "one setting; without NAME all of them are shown", &ChatSession::set_value},
      {"save", "FILE", "write the chat as BlockML", &ChatSession::save},
      {"load", "FILE", "go on with the chat of a file", &ChatSession::load},
      {"context", "", "how much of the context the chat takes", &ChatSession::show_context},
      {"help", "", "this list", &ChatSession::help},
      {"quit", "", "leave", &ChatSession::quit}};
  return kCommands;
}

void ChatSession::take_command(std::string_view line) {
  const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
  const std::string name(line.substr(0, end)), argument(trim_blockml(line.substr(end)));
  const auto found = std::ranges::find(commands(), name, &Command::name);
  if (found == commands().end()) {
    std::vector<std::string_view> names;
    for (const Command& command : commands()) names.push_back(command.name);
    const std::string similar = find_similar_name(name, names);
    throw misuse(
        concat("unknown command `/", escape_for_log(name), "`; a message that begins with `/` is typed with `//`"),
        concat("/", similar.empty() ? "help" : similar));
  }
  if (found->argument.empty() && !argument.empty())
    throw misuse(concat("`/", name, "` takes no argument"), concat("/", name));
  (this->*found->run)(argument);
}

const Segment& ChatSession::last_message_or_refuse() const {
  const Segment* last = conversation_.last_message();
  if (last == nullptr) throw misuse("nothing was said last", concat("/say ", as_));
  return *last;
}

void ChatSession::retry(const std::string&) {
  if (!conversation_.last_is_reply()) return reply_as(as_);
  const auto speaker = find_speaker(last_message_or_refuse().body);
  const auto before = conversation_.segments().first(conversation_.segments().size() - 1);
  const auto body = make_reply(std::string(speaker ? speaker->name : ""), before);
  if (!body) return log_info("the reply is empty: the last one stays; /retry makes another one");
  conversation_.replace_last_body(*body);
  changed_ = true;
}

void ChatSession::undo(const std::string&) {
  log_info(concat("taken back: ", escape_for_log(last_message_or_refuse().body)));
  conversation_.remove_last();
  changed_ = true;
}

void ChatSession::edit(const std::string& text) {
  const std::string old = last_message_or_refuse().body;
  const auto speaker = find_speaker(old);
  const std::string opening = speaker ? concat(speaker->name, ":") : "";
  std::string typed = text;
  if (typed.empty()) {
    if (!lines_.is_terminal()) throw misuse("`/edit` needs the new text", "/edit \"Hello!\"");
    const Line line = lines_.read(concat(opening, " "), to_line(speaker ? old.substr(speaker->text_begin) : old));
    if (line.kind != Line::Kind::kText) return log_info("the message stays as it was");
    typed = line.text;
  }
  const std::string body = joined_body(opening, from_line(without_opening(typed, opening)));
  if (const auto problem = find_message_problem(body)) throw Error(*problem);
  conversation_.replace_last_body(body);
  changed_ = true;
}

void ChatSession::say_as(const std::string& name) {
  if (name.empty()) throw misuse("`/say` needs a name", concat("/say ", as_));
  std::string checked;
  set_name(checked, "", name, concat("/say ", as_));
  reply_as(checked);
}

void ChatSession::go_on(const std::string&) {
  const Segment last = last_message_or_refuse();
  const auto before = conversation_.segments().first(conversation_.segments().size() - 1);
  print(lines_.is_terminal() ? harmless(last.body) : last.body);
  const Reply reply = generate_after(before, {.hint = hint_, .opening = last.body});
  report_stop(reply);
  if (trim_blockml(reply.text).empty()) return log_info("the model has nothing to add");
  conversation_.replace_last_body(storable(concat(last.body, reply.text)));
  changed_ = true;
}

void ChatSession::set_hint(const std::string& word) {
  const auto hint = find_word<LengthHint>(word);
  if (!hint || *hint == LengthHint::kAuto) throw unknown_word("hint", word, kHintWords);
  hint_ = *hint;
}

void ChatSession::set_preset(const std::string& word) {
  const auto preset = find_word<SamplerPreset>(word);
  if (!preset) throw unknown_word("preset", word, kWords<SamplerPreset>);
  reply_.sampler = preset_settings(*preset);
}

// One that is not `other`. `command` is one that works.
void ChatSession::set_name(std::string& name, const std::string& other, const std::string& value,
                           std::string_view command) {
  if (!is_character_name(value))
    throw misuse(concat("`", escape_for_log(value), "` cannot be the name of a character"), std::string(command));
  if (value == other)
    throw misuse(concat("the model and you cannot both be ", escape_for_log(value)), std::string(command));
  name = value;
}

std::string ChatSession::settings_text() const {
  std::string text = concat("as ", as_, "\nme ", me_, "\nhint ", word_of(hint_), "\nseed ", seed_, "\nmax-tokens ",
                            reply_.max_tokens, "\n");
  for (const SettingFlag& flag : setting_flags()) text += concat(flag.name, " ", flag.text(reply_.sampler), "\n");
  return text;
}

void ChatSession::set_value(const std::string& argument) {
  if (argument.empty()) return print(settings_text());
  const std::size_t end = std::min(argument.find(' '), argument.size());
  const std::string name = argument.substr(0, end), value(trim_blockml(std::string_view(argument).substr(end)));
  if (name == "as") return set_name(as_, me_, value, concat("/set as ", as_));
  if (name == "me") return set_name(me_, as_, value, concat("/set me ", me_));
  if (name == "hint") return set_hint(value);
  if (name == "max-tokens") {
    const std::int64_t tokens = parse_number<std::int64_t>(value).value_or(0);
    if (tokens < 1)
      throw misuse(concat("`/set max-tokens ", escape_for_log(value), "`: not a number of tokens"),
                   "/set max-tokens 1024");
    check_max_tokens(tokens);
    reply_.max_tokens = tokens;
    return;
  }
  const SettingFlag* flag = find_setting_flag(name);
  if (flag == nullptr)
    throw misuse(concat("`", escape_for_log(name), "` is no setting; `/set` lists them"), "/set min-p 0.07");
  flag->set(reply_.sampler, value, concat("/set ", flag->name));
}

void ChatSession::save(const std::string& written) {
  const std::string path = path_of("save", written);
  if (!conversation_.has_message()) throw misuse("nothing was said yet", "say something first");
  if (is_directory(path))
    throw misuse(concat(quoted_path(path), " is a folder"), concat("/save ", join_path(path, "chat.blockml")));
  if (copy_ != nullptr && absolute_path(path) == copy_->path())
    throw misuse(concat(quoted_path(path), " is the copy of this chat until it is saved"), "/save chat.blockml");
  // The lines of a script are no answers to questions that it cannot see.
  if (path_exists(path) && !lines_.is_terminal())
    throw misuse(concat(quoted_path(path), " exists; a chat without a terminal replaces no file"),
                 "another name, or remove the file before the chat");
  if (path_exists(path) && !confirmed(concat("replace ", quoted_path(path), "?"))) return log_info("not saved");
  const std::string folder = parent_path(path);
  write_file_atomically(folder.empty() ? "." : folder, file_name(path), render(conversation_.segments()));
  changed_ = false;
  log_info("saved in " + quoted_path(path));
}

void ChatSession::load(const std::string& written) {
  const std::string path = path_of("load", written);
  Conversation loaded(read_conversation(path));
  if (has_unsaved_messages() && !lines_.is_terminal())
    throw misuse("the chat is not saved, and `/load` would lose it", "/save chat.blockml");
  if (has_unsaved_messages() && !confirmed("the chat is not saved; go on without it?")) return log_info("not loaded");
  conversation_ = std::move(loaded);
  // What another chat left is still not saved.
  changed_ = copy_ != nullptr && copy_->take_over(path);
  dropped_ = 0;
  greet();
}

void ChatSession::show_context(const std::string&) {
  const std::string prompt = render_prompt(conversation_.segments(), {.hint = hint_, .opening = concat(as_, ":")});
  print(concat(tokenizer_.encode(prompt).size() + 1, " of ", model_.context_length(), " tokens; a reply may take ",
               reply_.max_tokens, "\n"));
}

void ChatSession::help(const std::string&) {
  std::string text;
  for (const Command& command : commands()) {
    std::string usage = concat("  /", command.name, command.argument.empty() ? "" : " ", command.argument);
    usage.resize(std::max<std::size_t>(usage.size() + 1, 22), ' ');
    text += concat(usage, command.meaning, "\n");
  }
  print(text + "Everything else is what you say; \\n in it is a new line. Ctrl-C stops a reply.\n");
}

void ChatSession::quit(const std::string&) { leaves_ = true; }

}  // namespace shori
