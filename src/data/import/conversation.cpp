// Cleaning of imported texts and the building of segments from them.
#include "src/data/import/conversation.h"

#include <algorithm>
#include <array>
#include <span>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, 3> kControlTexts = {"<s>", "</s>", "<unk>"};
constexpr std::string_view kInstClose = "[/INST]";
constexpr std::size_t kNameCodePoints = 64;
constexpr std::size_t kShownSpeakers = 100;

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

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F;
}

bool may_begin_name(char c) { return std::string_view(" \"_*>`:([").find(c) == std::string_view::npos; }

// The character that closes what `c` opens at the start of a name.
char closing(char c) { return c == '(' ? ')' : c == '[' ? ']' : c; }

// Without what may not stand at the start of a name. A bracket or a mark goes with its other half.
void drop_name_start(std::string& name) {
  std::size_t begin = 0;
  while (begin < name.size() && !may_begin_name(name[begin])) {
    const std::size_t other = name.find(closing(name[begin]), begin + 1);
    if (other != std::string::npos && name[begin] != ' ' && name[begin] != '>') name.erase(other, 1);
    ++begin;
  }
  name.erase(0, begin);
}

void collapse_spaces(std::string& text) {
  const auto end = std::unique(text.begin(), text.end(), [](char a, char b) { return a == ' ' && b == ' '; });
  text.erase(end, text.end());
}

// The longest beginning of at most `limit` code points.
std::string_view first_code_points(std::string_view text, std::size_t limit) {
  std::size_t end = 0;
  for (std::size_t count = 0; count < limit && end < text.size(); ++count) end += code_point_at(text, end).bytes;
  return text.substr(0, end);
}

std::string shown(std::string_view text) { return concat('`', escape_for_log(text, 60), '`'); }

}  // namespace

// The length comes first, so that no two lists of texts are the same bytes.
void ConversationKey::add(std::string_view text) {
  const std::uint64_t size = text.size();
  hash_.update(&size, sizeof size).update(text.data(), text.size());
}

std::string ConversationKey::text() const {
  constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";  // without i, l, o and u
  constexpr std::size_t kLength = 12;
  std::uint64_t rest = hash_.finish();
  std::string digits;
  for (; digits.size() < kLength; rest /= kDigits.size()) digits.push_back(kDigits[rest % kDigits.size()]);
  return digits;
}

std::string key_of(std::string_view text) {
  ConversationKey key;
  key.add(text);
  return key.text();
}

std::string clean_characters(std::string_view text, ChangeCounts& changes) {
  std::string out(text);
  TextChanges form{};
  normalize_text(out, form);
  count_text_changes(changes, form);
  count_change(changes, "control characters deleted", std::erase_if(out, is_control));
  count_change(changes, "texts <s>, </s>, <unk> deleted", erase_all(out, kControlTexts));
  return out;
}

std::string ConversationBuilder::clean(std::string_view text) {
  std::string out = clean_characters(text, report_.changes);
  count_change(report_.changes, "block characters ▀, ▄ replaced by -",
               replace_all(out, kBlockOpen, "-") + replace_all(out, kBlockClose, "-"));
  if (options_.limarp_clean) out = shori::limarp_clean(out, report_.changes);
  const std::string_view trimmed = trim_blockml(out);
  if (trimmed.size() != out.size() && !trimmed.empty()) count_change(report_.changes, "texts trimmed");
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
  drop_name_start(kept);
  if (kept != given) collapse_spaces(kept);
  std::string result(trim_blockml(first_code_points(kept, kNameCodePoints)));
  if (result != given)
    note_change(report_, "names changed to what a speaker may be", shown(name) + " -> " + shown(result));
  return result;
}

void ConversationBuilder::add_message(std::string_view name, std::string_view text, Voice voice) {
  Entry entry;
  entry.voice = voice;
  entry.name = name;
  entry.text = text;
  entries_.push_back(std::move(entry));
}

void ConversationBuilder::add_description(std::string_view name, std::string_view text) {
  add_block(Role::kDescription, text);
  entries_.back().name = name;
}

void ConversationBuilder::add_block(Role role, std::string_view text) {
  Entry entry;
  entry.role = role;
  entry.text = text;
  entries_.push_back(std::move(entry));
}

void ConversationBuilder::add_segment(Segment segment) { entries_.emplace_back().segment = std::move(segment); }

// Who the user and the character are, before anyone is given another name.
void ConversationBuilder::find_names() {
  std::vector<std::string> characters;
  for (const Entry& entry : entries_) {
    if (entry.voice == Voice::kUser && user_.empty()) user_ = entry.name;
    if (entry.voice != Voice::kCharacter || entry.name.empty()) continue;
    if (std::find(characters.begin(), characters.end(), entry.name) == characters.end())
      characters.push_back(entry.name);
  }
  one_character_ = characters.size() <= 1;
  if (character_.empty() && characters.size() == 1) character_ = characters.front();
  std::erase(characters, user_);
  for (const std::string& name : characters) group_ += (group_.empty() ? "" : ", ") + name;
}

// The name that an entry gets, cleaned; empty: none.
std::string ConversationBuilder::speaker_of(const Entry& entry) {
  const auto given = options_.names.find(entry.name);
  if (given != options_.names.end()) {
    report_.used_names.insert(given->first);
    if (given->second != entry.name)
      note_change(report_, "speakers renamed (--names)", shown(entry.name) + " -> " + shown(given->second));
    return clean_name(given->second);
  }
  const bool is_user = entry.voice == Voice::kUser || (entry.voice == Voice::kCharacter && entry.name == user_);
  const bool is_main = entry.voice == Voice::kCharacter && !is_user && (one_character_ || entry.name == character_);
  if (is_user) report_.used_names.insert("user");
  const std::string& option = is_user ? options_.human_name : is_main ? options_.gpt_name : entry.name;
  const std::string& name = option.empty() ? entry.name : option;
  if (name != entry.name && !entry.name.empty())
    note_change(report_, "speakers renamed (--names)", shown(entry.name) + " -> " + shown(name));
  return clean_name(name);
}

const std::string& ConversationBuilder::renamed(const std::string& name) const {
  const auto found = options_.names.find(name);
  return found == options_.names.end() ? name : found->second;
}

// A text without what is dropped, and with names for macros. `own`: the character who says it; empty: not known.
std::string ConversationBuilder::prose(std::string_view text, const std::string& own) {
  MacroNames names{user_name(), character_name(), group_};
  if (!own.empty() && !one_character_) names.character = renamed(own);
  if (fixed_) names = {user_, character_, ""};
  return expand_macros(drop_parts(text, options_, report_), names, report_);
}

void ConversationBuilder::add(Role role, std::string body) {
  Segment segment;
  segment.role = role;
  segment.body = std::move(body);
  segments_.push_back(std::move(segment));
}

void ConversationBuilder::finish_message(const Entry& entry) {
  const std::string text(trim_blockml(clean(prose(entry.text, entry.voice == Voice::kCharacter ? entry.name : ""))));
  if (text.empty()) return count_change(report_.changes, "empty texts dropped");
  const std::string name = expand_macros(entry.name, {options_.human_name, options_.gpt_name, ""}, report_);
  Entry named = entry;
  named.name = name;
  const std::string speaker = speaker_of(named);
  if (speaker.empty()) {
    count_change(report_.changes, "messages without a name");
    return add(Role::kMessage, text);
  }
  std::size_t doubled = 0;
  std::string_view rest = without_own_name(text, speaker, doubled);
  if (doubled == 0) rest = without_own_name(text, trim_blockml(entry.name), doubled);
  if (doubled > 0) note_change(report_, "names written twice removed", shown(concat(speaker, ": ", speaker, ":")));
  if (rest.empty()) return count_change(report_.changes, "empty texts dropped");
  if (report_.speakers.size() < kShownSpeakers) report_.speakers.insert(speaker);
  add(Role::kMessage, concat(speaker, ": ", rest));
}

// BlockML stays as it is but for names and for what may be dropped.
void ConversationBuilder::finish_segment(Segment segment) {
  const MacroNames names{options_.human_name, options_.gpt_name, ""};
  std::string body = segment.body;
  if (segment.role == Role::kMessage) body = drop_parts(body, options_, report_);
  body = trim_blockml(expand_macros(body, names, report_));
  const std::optional<Speaker> speaker = segment.role == Role::kMessage ? find_speaker(body) : std::nullopt;
  if (speaker) {
    const std::string_view given = speaker->name;
    const auto renamed = options_.names.find(given);
    const std::string name = renamed == options_.names.end() ? std::string(given) : clean_name(renamed->second);
    if (renamed != options_.names.end()) report_.used_names.insert(renamed->first);
    if (name != given) note_change(report_, "speakers renamed (--names)", shown(given) + " -> " + shown(name));
    std::size_t doubled = 0;
    const std::string_view text = std::string_view(body).substr(speaker->text_begin);
    const std::string_view rest = without_own_name(text, given, doubled);
    if (doubled > 0) note_change(report_, "names written twice removed", shown(concat(given, ": ", given, ":")));
    if (doubled > 0 || name != given) {
      const std::string between(body, given.size(), speaker->text_begin - given.size());
      body = trim_blockml(concat(name, doubled > 0 ? ": " : between, rest));
    }
    if (body == concat(name, ":")) body.clear();
    if (report_.speakers.size() < kShownSpeakers) report_.speakers.insert(name);
  }
  if (body.empty()) return count_change(report_.changes, "empty texts dropped");
  segment.body = std::move(body);
  segments_.push_back(std::move(segment));
}

void ConversationBuilder::finish_entry(const Entry& entry) {
  if (entry.segment) return finish_segment(*entry.segment);
  if (entry.role == Role::kMessage) return finish_message(entry);
  std::string body = clean(prose(entry.text, ""));
  if (entry.role == Role::kInst) {
    const std::size_t times = erase_all(body, {&kInstClose, 1});
    count_change(report_.changes, "[/INST] deleted inside an instruction", times);
    if (times > 0) body = trim_blockml(body);
  }
  if (body.empty()) return count_change(report_.changes, "empty texts dropped");
  const std::string name = entry.name.empty() ? std::string() : clean_name(entry.name);
  add(entry.role, name.empty() ? body : concat(name, '\n', body));
}

std::vector<Segment> ConversationBuilder::take() {
  find_names();
  for (const Entry& entry : entries_) finish_entry(entry);
  entries_.clear();
  return std::move(segments_);
}

void ConversationBuilder::finish(ImportedConversation& conversation) {
  conversation.segments = take();
  conversation.user = user_name();
  conversation.character = character_;
}

}  // namespace shori
