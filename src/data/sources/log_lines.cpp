#include "src/data/sources/log_lines.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kMaxSpeaker = 40;  // code points
constexpr std::size_t kMaxWords = 4;
constexpr std::string_view kChannelModes = "~&@%+";  // of IRC, before a nick

// In the order in which they speak for a name.
enum class Letter : std::uint8_t { kSmall, kWithoutCase, kCapital, kNone };

// Ranges of Unicode in which capitals and small letters stand together, or alternate.
struct CaseRange {
  std::uint32_t first, last;
  enum class Order : std::uint8_t { kCapitals, kSmall, kCapitalFirst } order;
};
constexpr auto kCapitals = CaseRange::Order::kCapitals;
constexpr auto kSmall = CaseRange::Order::kSmall;
constexpr auto kCapitalFirst = CaseRange::Order::kCapitalFirst;
constexpr auto kCaseRanges = std::to_array<CaseRange>({
    {'A', 'Z', kCapitals},         {'a', 'z', kSmall},
    {0xC0, 0xDE, kCapitals},       {0xDF, 0xFF, kSmall},
    {0x100, 0x137, kCapitalFirst}, {0x138, 0x138, kSmall},
    {0x139, 0x148, kCapitalFirst}, {0x149, 0x149, kSmall},
    {0x14A, 0x177, kCapitalFirst}, {0x178, 0x178, kCapitals},
    {0x179, 0x17E, kCapitalFirst}, {0x17F, 0x17F, kSmall},
    {0x386, 0x38F, kCapitals},     {0x390, 0x390, kSmall},
    {0x391, 0x3AB, kCapitals},     {0x3AC, 0x3CE, kSmall},
    {0x400, 0x42F, kCapitals},     {0x430, 0x45F, kSmall},
    {0x460, 0x481, kCapitalFirst}, {0x48A, 0x4BF, kCapitalFirst},
    {0x4C0, 0x4C0, kCapitals},     {0x4C1, 0x4CE, kCapitalFirst},
    {0x4CF, 0x4CF, kSmall},        {0x4D0, 0x52F, kCapitalFirst},
    {0x531, 0x556, kCapitals},     {0x561, 0x587, kSmall},
});

// Punctuation, symbols and pictures, by their blocks.
bool is_symbol(std::uint32_t value) {
  return value < 0xC0 || (value >= 0x2000 && value < 0x2C00) || (value >= 0x3000 && value < 0x3040) ||
         (value >= 0x1F000 && value < 0x20000);
}

Letter kind_of(std::uint32_t value) {
  const auto range = std::find_if(kCaseRanges.begin(), kCaseRanges.end(),
                                  [value](const CaseRange& each) { return value >= each.first && value <= each.last; });
  if (range == kCaseRanges.end()) return is_symbol(value) ? Letter::kNone : Letter::kWithoutCase;
  const bool capital = range->order == kCapitals || (range->order == kCapitalFirst && (value - range->first) % 2 == 0);
  return capital ? Letter::kCapital : Letter::kSmall;
}

// In Chinese, Japanese and Korean, so that `他说：不` is prose.
bool ends_with_verb_of_saying(std::string_view name) {
  constexpr std::array<std::string_view, 17> kVerbs = {"说",     "說",     "道",     "问",     "問",      "答",
                                                       "喊",     "叫",     "想",     "曰",     "言った",  "聞いた",
                                                       "尋ねた", "答えた", "말했다", "물었다", "대답했다"};
  return std::any_of(kVerbs.begin(), kVerbs.end(), [name](std::string_view verb) { return name.ends_with(verb); });
}

// The first letter of a word that speaks least for a name, which is valid UTF-8.
Letter weakest_letter(std::string_view name) {
  if (ends_with_verb_of_saying(name)) return Letter::kSmall;
  Letter weakest = Letter::kNone;
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find(' ', begin), name.size());
    if (end > begin) weakest = std::min(weakest, kind_of(code_point_at(name, begin).value));
    begin = end + 1;
  }
  return weakest;
}

std::size_t count_words(std::string_view name) {
  return 1 + static_cast<std::size_t>(std::count(name.begin(), name.end(), ' '));
}

bool has_punctuation(std::string_view name) {
  constexpr std::array<std::string_view, 10> kWide = {"，", "。", "、", "；", "！", "？", "「", "『", "“", "…"};
  return name.find_first_of("\",;!?") != std::string_view::npos ||
         std::any_of(kWide.begin(), kWide.end(),
                     [name](std::string_view mark) { return name.find(mark) != std::string_view::npos; });
}

// A name as people give them: a few words, the first with a capital or in a script without any.
bool may_be_name(std::string_view name) {
  if (name.empty() || name != trim(name) || count_words(name) > kMaxWords) return false;
  if (count_code_points(name) > kMaxSpeaker || name.find_first_of("\"_*>`:([,;!?#-") == 0) return false;
  return !has_punctuation(name) && kind_of(code_point_at(name, 0).value) != Letter::kSmall;
}

// The marks of a list or of a prompt in front of a speaker: `- Tam: x`, `### Human: x`.
std::size_t skip_mark(std::string_view line) {
  constexpr std::array<std::string_view, 6> kMarks = {"- ", "* ", "• ", "– ", "— ", "### "};
  const auto mark = std::find_if(kMarks.begin(), kMarks.end(), [line](auto each) { return line.starts_with(each); });
  return mark == kMarks.end() ? 0 : std::min(line.find_first_not_of(' ', mark->size()), line.size());
}

// In angle brackets, where logs of IRC have any nick: no tag with members, and no end of one.
bool may_be_nick(std::string_view name) {
  return !name.empty() && name == trim(name) && count_words(name) <= kMaxWords &&
         count_code_points(name) <= kMaxSpeaker && name.find_first_of("<>/=") == std::string_view::npos &&
         !has_punctuation(name);
}

// After a time: `[12:30] `, `(2024-01-02 12:30) `; before `<` without brackets too.
std::size_t skip_time(std::string_view line) {
  const std::size_t bare = line.find_first_not_of("0123456789:-./ ");
  if (bare != 0 && bare != std::string_view::npos && line[bare] == '<')
    return line.substr(0, bare).find(':') == std::string_view::npos || line[bare - 1] != ' ' ? 0 : bare;
  if (line.empty() || (line.front() != '[' && line.front() != '(')) return 0;
  const std::size_t end = line.find(line.front() == '[' ? ']' : ')');
  if (end == std::string_view::npos || end > kMaxSpeaker) return 0;
  const std::string_view inside = line.substr(1, end - 1);
  const bool digits = inside.find_first_of("0123456789") != std::string_view::npos;
  const bool time = digits && inside.find_first_of(":/-.") != std::string_view::npos;
  return time ? std::min(line.find_first_not_of(' ', end + 1), line.size()) : 0;
}

}  // namespace

FoundColon find_colon(std::string_view text, std::size_t from) {
  constexpr std::string_view kWide = "：";
  const std::size_t plain = text.find(':', from), wide = text.find(kWide, from);
  if (wide < plain) return {wide, wide + kWide.size(), true};
  return {plain, plain + 1, false};
}

void each_line(std::string_view text, const std::function<void(std::string_view line)>& use) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    use(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

std::optional<LogLine> read_log_line(std::string_view line) {
  const std::size_t time = skip_time(line), begin = time + skip_mark(line.substr(time));
  const std::string_view rest = line.substr(begin);
  const bool angle = rest.starts_with('<'), bold = rest.starts_with("**");
  const std::string_view open = angle ? "<" : bold ? "**" : "";
  const std::size_t close = rest.find('>');
  const FoundColon colon = angle ? FoundColon{close, close + 1} : find_colon(rest, open.size());
  const std::size_t end = colon.name_end;
  if (end == std::string_view::npos || end > 4 * kMaxSpeaker) return std::nullopt;
  std::string_view name = rest.substr(open.size(), end - open.size());
  std::size_t text = colon.text_begin;
  if (bold && rest.substr(text).starts_with("**"))
    text += 2;
  else if (bold && name.ends_with("**"))
    name.remove_suffix(2);
  else if (bold)
    return std::nullopt;
  if (find_invalid_utf8(name)) return std::nullopt;
  if (angle && name.size() > 1 && kChannelModes.find(name.front()) != std::string_view::npos) name.remove_prefix(1);
  // A word in small letters alone on its line is a tag, as `<think>`.
  const bool is_name = may_be_name(name), has_text = !trim(rest.substr(text)).empty();
  if (angle ? !may_be_nick(name) || !(is_name || has_text) : !is_name) return std::nullopt;
  if (!colon.wide && text < rest.size() && rest[text] != ' ' && rest[text] != '\t') return std::nullopt;
  return LogLine{name, begin + text, time > 0, angle};
}

LogSpeakers::LogSpeakers(std::string_view text) {
  std::size_t lines = 0, others = 0;
  each_line(text, [&](std::string_view line) {
    const std::optional<LogLine> found = read_log_line(line);
    if (found) ++times_[found->speaker];
    if (found && found->in_angles) nicks_.insert(found->speaker);
    lines += found ? 1 : 0;
    others += found || trim(line).empty() ? 0 : 1;
  });
  mostly_names_ = lines >= others;
}

bool LogSpeakers::contains(std::string_view name) const {
  const auto found = times_.find(name);
  if (found == times_.end()) return false;
  if (nicks_.contains(name)) return true;
  const Letter weakest = weakest_letter(name);
  return found->second > 1 || weakest >= Letter::kCapital || (weakest == Letter::kWithoutCase && mostly_names_);
}

std::size_t LogSpeakers::lines() const {
  std::size_t sum = 0;
  for (const auto& [name, times] : times_) sum += contains(name) ? times : 0;
  return sum;
}

}  // namespace shori
