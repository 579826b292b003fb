#include "src/chat/terminal/chat_session.h"

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/chat/output.h"
#include "src/chat/terminal/message_text.h"

namespace shori {
namespace {

std::string speaker_part(const std::string& name) { return name.empty() ? "" : concat(name, ":"); }

}  // namespace

ChatSession::ChatSession(LanguageModel& model, const Tokenizer& tokenizer, const ChatOptions& options,
                         Interrupts& interrupts, LineReader& lines, UnsavedCopy* copy)
    : model_(model),
      tokenizer_(tokenizer),
      interrupts_(interrupts),
      lines_(lines),
      copy_(copy),
      conversation_(options.scenario),
      reply_(options.reply),
      as_(options.as),
      me_(options.me),
      hint_(options.hint),
      seed_(options.seed) {
  check_max_tokens(reply_.max_tokens);
  choose_names();
}

void ChatSession::check_max_tokens(std::int64_t tokens) const {
  if (tokens < model_.context_length()) return;
  throw Error(Diagnostic("E0116", concat("replies of ", tokens, " tokens leave no room for a prompt in a context of ",
                                         model_.context_length()))
                  .help("a smaller `max-tokens`, or a larger `--context`"));
}

// The first characters of the scenario: cards describe the model's first, then the user's.
void ChatSession::choose_names() {
  std::vector<std::string> names = conversation_.names();
  const auto take = [&](std::string& name, const std::string& other, const char* otherwise) {
    if (!name.empty()) return;
    const auto found = std::ranges::find_if(names, [&](const std::string& each) { return each != other; });
    name = found == names.end() ? otherwise : *found;
  };
  take(as_, me_, "Character");
  take(me_, as_, "User");
}

void ChatSession::greet() const {
  log_info(
      concat("the model is ", escape_for_log(as_), ", you are ", escape_for_log(me_), "; /help lists the commands"));
  for (const Segment& segment : conversation_.segments())
    if (segment.role == Role::kMessage) show_message(segment);
}

void ChatSession::run() {
  if (copy_ != nullptr) copy_->report_left();
  greet();
  do {
    throw_if_stop_requested();
    take_input(read_message());
  } while (!leaves_ || !may_leave());
  throw_if_stop_requested();
}

void ChatSession::take_input(const Line& line) {
  leaves_ = line.kind == Line::Kind::kEnd || (line.kind == Line::Kind::kInterrupt && leaves_after(line));
  if (line.kind != Line::Kind::kText) return;
  interrupted_once_ = false;
  try {
    take_line(line.text);
  } catch (const Error& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) log_error(diagnostic);
  }
  keep();
  if (!leaves_) asked_to_save_ = false;
}

// Why the chat is not kept; empty if it is, or has nothing to keep.
std::string ChatSession::update_copy() {
  return copy_ == nullptr ? "" : copy_->update(has_unsaved_messages() ? render(conversation_.segments()) : "");
}

void ChatSession::keep() {
  const std::string problem = update_copy();
  if (!problem.empty() && !reported_not_kept_)
    log_info(concat("the chat could not be kept: ", problem, "; `/save FILE` saves it"));
  reported_not_kept_ = !problem.empty();
}

bool ChatSession::may_leave() {
  if (stop_requested() || asked_to_save_) return true;
  const std::string problem = update_copy();
  if (problem.empty()) return true;
  asked_to_save_ = true;
  log_info(concat("the chat could not be kept: ", problem, "; `/save FILE` saves it, and leaving again loses it"));
  return false;
}

void ChatSession::keep_at_end() {
  if (copy_ == nullptr || !has_unsaved_messages()) return;
  const std::string problem = update_copy();
  log_info(problem.empty()
               ? concat("the chat was not saved; it is kept: ", quoted_path(concat("/load ", copy_->path())),
                        " goes on with it")
               : concat("the chat could not be kept: ", problem));
}

Line ChatSession::read_message() { return lines_.read(concat(me_, "> ")); }

// Ctrl-C clears a line; on an empty one, the second leaves.
bool ChatSession::leaves_after(const Line& interrupt) {
  if (interrupt.was_typed) interrupted_once_ = false;
  if (!interrupt.was_empty) return false;
  if (interrupted_once_) return true;
  interrupted_once_ = true;
  log_info("Ctrl-C again, or /quit, leaves the chat");
  return false;
}

void ChatSession::take_line(const std::string& line) {
  const std::string_view text = trim_blockml(line);
  if (text.empty()) return;
  if (text.starts_with("//")) return say(from_line(text.substr(1)));
  if (text.starts_with('/')) return take_command(text.substr(1));
  say(from_line(text));
}

void ChatSession::report_other_name(const std::string& text) const {
  std::vector<std::string> names = conversation_.names();
  names.push_back(as_);
  const auto found =
      std::ranges::find_if(names, [&](const std::string& name) { return text.starts_with(concat(name, ":")); });
  if (found == names.end()) return;
  const std::string name = escape_for_log(*found);
  log_info(concat("`", name, ":` is a part of what you say; `/say ", name, "` lets the model write as ", name));
}

void ChatSession::say(const std::string& typed) {
  const std::string text = without_opening(typed, speaker_part(me_));
  const std::string body = joined_body(speaker_part(me_), text);
  if (const auto problem = find_message_problem(body)) throw Error(*problem);
  conversation_.add(body, false);
  changed_ = true;
  keep();
  report_other_name(text);
  reply_as(as_);
}

Reply ChatSession::generate_after(std::span<const Segment> segments, const PromptEnd& end) {
  const FittedPrompt prompt = fit_prompt(tokenizer_, segments, end, model_.context_length() - reply_.max_tokens);
  report_dropped(prompt.dropped_segments);
  const bool terminal = lines_.is_terminal();
  const auto show = [terminal](std::string_view text, std::int64_t) {
    print(terminal ? harmless(text) : std::string(text));
    return true;
  };
  const auto cancelled = [this] { return interrupts_.interrupted() || stop_requested(); };
  const Reply reply =
      generate(model_, tokenizer_, prompt.ids,
               {.sampler = reply_.sampler, .seed = seed_, .reply = replies_++, .max_tokens = reply_.max_tokens},
               {.text = show, .cancelled = cancelled});
  print("\n");
  (void)interrupts_.take_interrupt();
  return reply;
}

std::optional<std::string> ChatSession::make_reply(const std::string& name, std::span<const Segment> segments) {
  const std::string opening = speaker_part(name);
  print(lines_.is_terminal() ? harmless(opening) : opening);
  const Reply reply = generate_after(segments, {.hint = hint_, .opening = opening});
  const bool is_empty = trim_blockml(reply.text).empty();
  if (!is_empty || reply.stop != StopReason::kCancelled) report_stop(reply);  // /continue has nothing to go on with
  if (is_empty) return std::nullopt;
  return storable(joined_body(opening, reply.text));
}

void ChatSession::reply_as(const std::string& name) {
  const auto body = make_reply(name, conversation_.segments());
  if (!body) return log_info("the reply is empty; /retry makes another one");
  conversation_.add(*body, true);
  changed_ = true;
}

void ChatSession::report_dropped(std::size_t segments) {
  if (segments > dropped_)
    log_info(concat("the context is full: the prompt leaves the oldest ", segments, " blocks after the header out"));
  dropped_ = segments;
}

void ChatSession::report_stop(const Reply& reply) const {
  if (reply.stop == StopReason::kLength) log_info(concat("cut after ", reply.ids.size(), " tokens; /continue goes on"));
  if (reply.stop == StopReason::kCancelled) log_info("stopped; /continue goes on");
  if (reply.stop == StopReason::kNextBlock) log_info("the model began another block without ending this one");
}

// A model may write what no message can hold.
std::string ChatSession::storable(const std::string& body) const {
  if (!find_message_problem(body) && without_c1(body) == body) return body;
  log_info("characters that a message cannot hold were taken out of the reply");
  return cleaned_body(body);
}

void ChatSession::show_message(const Segment& message) const {
  print(concat(lines_.is_terminal() ? harmless(message.body) : message.body, "\n"));
}

bool ChatSession::confirmed(const std::string& question) {
  const Line answer = lines_.read(concat(question, " [y/N] "));
  const std::string word = lower_ascii(trim(answer.text));
  return answer.kind == Line::Kind::kText && (word == "y" || word == "yes");
}

}  // namespace shori
