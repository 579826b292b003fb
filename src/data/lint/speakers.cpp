// Rules about who speaks: names of users, speakers that are written twice, speakers inside the message of another, and
// messages that occur twice.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/lint/block.h"
#include "src/data/sources/log_lines.h"

namespace shori {
namespace {

constexpr std::size_t kMaxName = 64;       // code points
constexpr std::size_t kRepeatedWords = 6;  // a shorter message may well be said twice
constexpr std::string_view kNameMarks = "*_[]<> \t";

// What chat programs call their user, or the model, until someone gives it a name; in lower case.
constexpr std::array<std::string_view, 14> kDefaultNames = {
    "anon",    "anonymous", "you",     "user",         "username",           "human",  "assistant",
    "chatgpt", "gpt",       "chatbot", "default-user", "sillytavern system", "unused", "bot"};
// Those of them that no line of a story begins with.
constexpr std::array<std::string_view, 9> kLineNames = {"You",  "User",      "Anon",  "Human", "Assistant",
                                                        "USER", "ASSISTANT", "HUMAN", "BOT"};

bool is_default_name(std::string_view name) {
  const std::string lower = lower_ascii(name);
  return std::find(kDefaultNames.begin(), kDefaultNames.end(), lower) != kDefaultNames.end();
}

std::string_view without_marks(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kNameMarks);
  return begin == kNotFound ? std::string_view() : text.substr(begin, text.find_last_not_of(kNameMarks) + 1 - begin);
}

// A name at the start of a line, as chats write it: `Name: `, `Name：`, `**Name:** `, `[Name]: `, `<Name> `.
struct LineName {
  std::string_view name;
  TextSpan span;
};
std::optional<LineName> find_line_name(std::string_view text, TextSpan line) {
  const std::string_view shown = text.substr(line.begin, line.end - line.begin);
  const std::size_t begin = shown.find_first_not_of(" \t");
  if (begin == kNotFound) return std::nullopt;
  FoundColon colon = find_colon(shown, begin);
  if (const std::size_t close = shown.find('>'); shown[begin] == '<' && close < colon.name_end)
    colon = {close, close + 1};
  if (colon.name_end == kNotFound || colon.name_end - begin > 4 * kMaxName) return std::nullopt;
  const char next = colon.text_begin < shown.size() ? shown[colon.text_begin] : ' ';
  if (!colon.wide && std::string_view(" \t*_\"]").find(next) == kNotFound) return std::nullopt;
  const std::string_view name = without_marks(shown.substr(begin, colon.name_end - begin));
  if (name.empty()) return std::nullopt;
  return LineName{name, {line.begin + begin, line.begin + colon.text_begin}};
}

// The name that a description is about: its first line, without `Name:` and marks.
std::string_view described_name(std::string_view body) {
  std::string_view line = body.substr(0, body.find('\n'));
  if (const std::size_t colon = line.find(':'); colon != kNotFound) {
    const std::string_view value = without_marks(line.substr(colon + 1));
    line = value.empty() ? line.substr(0, colon) : value;
  }
  return without_marks(line);
}

std::string folded(std::string_view text) {
  std::string result(text.size(), ' ');
  std::size_t size = 0;
  for (const char c : text) {
    const bool space = is_blockml_space(c);
    if (space && (size == 0 || result[size - 1] == ' ')) continue;
    result[size++] = space ? ' ' : lower_ascii(c);
  }
  result.resize(size);
  return result;
}

class SpeakerLint {
 public:
  SpeakerLint(const BlockmlDocument& document, const LintOptions& options, std::vector<LintFinding>& findings)
      : segments_(document.segments), options_(options), findings_(findings) {
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const Segment& segment = segments_[i];
      if (segment.role == Role::kDescription) add_name(described_name(segment.body));
      if (segment.role != Role::kMessage) continue;
      const std::optional<Speaker> speaker = find_speaker(segment.body);
      if (!speaker) continue;
      add_name(speaker->name);
      const auto [use, is_new] = uses_.try_emplace(speaker->name, std::pair(i, std::size_t{0}));
      ++use->second.second;
    }
  }

  void run() {
    if (options_.level(LintRule::kUsername) != LintLevel::kOff) default_names();
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      if (segments_[i].role != Role::kMessage) continue;
      BlockFindings block(i, options_);
      speakers_inside(segments_[i].body, block);
      block.move_to(findings_);
    }
    if (options_.level(LintRule::kRepeatedMessage) != LintLevel::kOff) repeated_messages();
  }

 private:
  void add_name(std::string_view name) {
    if (!name.empty()) names_.insert(name);
  }

  void default_names() {
    for (const auto& [name, use] : uses_) {
      if (!is_default_name(name)) continue;
      BlockFindings block(use.first, options_);
      block.add_block(LintRule::kUsername, "a speaker has the name that programs give their user",
                      speaker_text(name, use.second), use.second);
      block.move_to(findings_);
    }
  }

  // Whether `name` is the speaker, or its first word.
  static bool is_name_of(std::string_view name, std::string_view speaker) {
    return lower_ascii(name) == lower_ascii(speaker) ||
           (name.size() > 1 && speaker.starts_with(name) && speaker.substr(name.size()).starts_with(' '));
  }

  bool is_known(std::string_view name) const {
    return names_.contains(name) || std::find(kLineNames.begin(), kLineNames.end(), name) != kLineNames.end();
  }

  void speakers_inside(std::string_view body, BlockFindings& block) const {
    const std::optional<Speaker> speaker = find_speaker(body);
    const std::size_t text_begin = speaker ? speaker->text_begin : 0;
    const FencedText fenced = blank_fences(body);
    const std::string_view prose = fenced.prose(body);
    for (TextSpan line : lines_of(prose)) {
      if (line.end < text_begin || (!speaker && line.begin == 0)) continue;
      const bool first = line.begin <= text_begin && speaker;
      line.begin = std::max(line.begin, text_begin);
      const std::optional<LineName> found = find_line_name(prose, line);
      if (!found) continue;
      if (first && is_name_of(found->name, speaker->name)) {
        block.add(LintRule::kDoubledSpeaker, found->span);
      } else if (is_known(found->name)) {
        block.add(LintRule::kOtherSpeaker, found->span, false,
                  concat("`", escape_for_log(found->name), ":` begins a line inside a message"));
      }
    }
  }

  void repeated_messages() {
    std::unordered_map<std::string, std::size_t> first;  // folded body -> segment
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const Segment& segment = segments_[i];
      if (segment.role != Role::kMessage) continue;
      const auto [earlier, is_new] = first.try_emplace(folded(segment.body), i);
      const std::size_t since = i - std::exchange(earlier->second, i);
      if (is_new) continue;
      const std::string text = folded(message_text(segment.body));
      const auto words = static_cast<std::size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
      // Directly after itself even a short one was pasted twice.
      const bool pasted = since == 1 && std::any_of(text.begin(), text.end(), is_ascii_letter);
      if (!pasted && words < kRepeatedWords) continue;
      BlockFindings block(i, options_);
      block.add_block(LintRule::kRepeatedMessage, std::string(lint_rule_message(LintRule::kRepeatedMessage)), {});
      block.move_to(findings_);
    }
  }

  const std::vector<Segment>& segments_;
  const LintOptions& options_;
  std::vector<LintFinding>& findings_;
  std::set<std::string_view> names_;
  std::map<std::string_view, std::pair<std::size_t, std::size_t>> uses_;  // speaker -> its first message, and how many
};

}  // namespace

std::string speaker_text(std::string_view name, std::size_t messages) {
  return concat('`', escape_for_log(name), "` (", counted(messages, "message"), ")");
}

void lint_speakers(const BlockmlDocument& document, const LintOptions& options, std::vector<LintFinding>& findings) {
  SpeakerLint(document, options, findings).run();
}

}  // namespace shori
