// Cleaning of imported texts and the building of segments from them.
#include "src/data/import/conversation.h"

#include <algorithm>
#include <array>
#include <span>

#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, 3> kControlTexts = {"<s>", "</s>", "<unk>"};
constexpr std::string_view kInstClose = "[/INST]";
constexpr std::size_t kNameCodePoints = 64;

// Deletes all occurrences of the words, also those that a deletion creates. Linear: the text is built from the left.
std::size_t erase_all(std::string& text, std::span<const std::string_view> words) {
  std::size_t times = 0;
  std::string kept;
  kept.reserve(text.size());
  for (const char c : text) {
    kept.push_back(c);
    for (const std::string_view word : words) {
      if (!kept.ends_with(word)) continue;
      kept.resize(kept.size() - word.size());
      ++times;
    }
  }
  text = std::move(kept);
  return times;
}

std::size_t replace_all(std::string& text, std::string_view word, std::string_view by) {
  std::size_t times = 0, from = 0;
  std::string out;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, from)) {
    out.append(text, from, at - from).append(by);
    from = at + word.size();
    ++times;
  }
  if (times > 0) text = out.append(text, from);
  return times;
}

std::string unify_line_ends(std::string_view text, ChangeCounts& changes) {
  std::string out;
  out.reserve(text.size());
  std::size_t times = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out.push_back(text[i]);
      continue;
    }
    ++times;
    if (i + 1 == text.size() || text[i + 1] != '\n') out.push_back('\n');
  }
  if (times > 0) count_change(changes, "line ends made LF", times);
  return out;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F;
}

bool may_begin_name(char c) { return std::string_view(" \"_*>`:([").find(c) == std::string_view::npos; }

// The longest beginning of at most `limit` code points.
std::string_view first_code_points(std::string_view text, std::size_t limit) {
  std::size_t end = 0;
  for (std::size_t count = 0; count < limit && end < text.size(); ++count) end += code_point_at(text, end).bytes;
  return text.substr(0, end);
}

}  // namespace

void count_change(ChangeCounts& changes, std::string_view kind, std::uint64_t times) {
  const auto found = changes.find(kind);
  if (found != changes.end())
    found->second += times;
  else if (times > 0)
    changes.emplace(kind, times);
}

std::string clean_characters(std::string_view text, ChangeCounts& changes) {
  std::string out = unify_line_ends(text, changes);
  count_change(changes, "control characters deleted", std::erase_if(out, is_control));
  count_change(changes, "texts <s>, </s>, <unk> deleted", erase_all(out, kControlTexts));
  return out;
}

std::string ConversationBuilder::clean(std::string_view text) {
  std::string out = clean_characters(text, changes_);
  count_change(changes_, "block characters ▀, ▄ replaced by -",
               replace_all(out, kBlockOpen, "-") + replace_all(out, kBlockClose, "-"));
  if (limarp_clean_) out = shori::limarp_clean(out, changes_);
  const std::string_view trimmed = trim_blockml(out);
  if (trimmed.size() != out.size() && !trimmed.empty()) count_change(changes_, "texts trimmed");
  return std::string(trimmed);
}

std::string ConversationBuilder::clean_name(std::string_view name) {
  const std::string given = clean(name);
  std::string kept;
  for (const char c : given) {
    if (c == '\n' || c == '\t')
      kept.push_back(' ');
    else if (c != '"' && c != ':')
      kept.push_back(c);
  }
  std::string_view rest = kept;
  while (!rest.empty() && !may_begin_name(rest.front())) rest.remove_prefix(1);
  rest = trim_blockml(first_code_points(rest, kNameCodePoints));
  if (rest != given) count_change(changes_, "names changed to what a speaker may be");
  return std::string(rest);
}

void ConversationBuilder::add(Role role, std::string body) {
  Segment segment;
  segment.role = role;
  segment.body = std::move(body);
  segments_.push_back(std::move(segment));
}

void ConversationBuilder::add_block(Role role, std::string_view text) {
  if (role == Role::kInst) return add_instruction(text);
  std::string body = clean(text);
  if (body.empty()) return count_change(changes_, "empty texts dropped");
  add(role, std::move(body));
}

void ConversationBuilder::add_message(std::string_view name, std::string_view text) {
  const std::string body = clean(text);
  if (body.empty()) return count_change(changes_, "empty texts dropped");
  const std::string speaker = clean_name(name);
  if (speaker.empty()) {
    count_change(changes_, "messages without a name");
    return add(Role::kMessage, body);
  }
  add(Role::kMessage, speaker + ": " + body);
}

void ConversationBuilder::add_description(std::string_view name, std::string_view text) {
  const std::string body = clean(text);
  if (body.empty()) return count_change(changes_, "empty texts dropped");
  const std::string speaker = clean_name(name);
  add(Role::kDescription, speaker.empty() ? body : speaker + "\n" + body);
}

void ConversationBuilder::add_instruction(std::string_view text) {
  std::string body = clean(text);
  if (const std::size_t times = erase_all(body, {&kInstClose, 1}); times > 0) {
    count_change(changes_, "[/INST] deleted inside an instruction", times);
    body = trim_blockml(body);
  }
  if (body.empty()) return count_change(changes_, "empty texts dropped");
  add(Role::kInst, std::move(body));
}

void ConversationBuilder::add_segment(Segment segment) { segments_.push_back(std::move(segment)); }

bool ConversationBuilder::has_message() const {
  return std::any_of(segments_.begin(), segments_.end(), [](const Segment& s) { return s.role == Role::kMessage; });
}

}  // namespace shori
