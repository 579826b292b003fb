// The rules text/macro, text/think and text/template: marks of chat programs and models that a reader of the story should
// never see.
#include <algorithm>
#include <array>
#include <optional>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

constexpr std::size_t kMaxMacro = 400;     // bytes between the braces
constexpr std::size_t kMaxToken = 40;      // bytes between the bars
constexpr std::size_t kMaxThinkTag = 300;  // bytes between < and >

// Of the words that stand at the front of `text`, the longest; empty if none does.
template <std::size_t N>
std::string_view starts_with_any(std::string_view text, const std::array<std::string_view, N>& words) {
  std::string_view longest;
  for (const std::string_view word : words) {
    if (text.starts_with(word) && word.size() > longest.size()) longest = word;
  }
  return longest;
}

constexpr std::array<std::string_view, 6> kMacroNames = {"user", "char", "bot", "persona", "original", "group"};
constexpr std::array<std::string_view, 3> kNameTags = {"user", "bot", "char"};  // in any case
constexpr std::array<std::string_view, 5> kUpperTags = {"START", "FIRST", "SECOND", "GROUP", "CHARIFNOTGROUP"};
constexpr std::array<std::string_view, 3> kSingleBraces = {"{user}", "{char}", "{bot}"};

bool is_macro_text(std::string_view inner) {
  inner = trim(inner);
  while (!inner.empty() && std::string_view("#/!?$.~>&@:[* ").find(inner.front()) != kNotFound) inner.remove_prefix(1);
  return !inner.empty() && is_ascii_letter(inner.front());
}

// At "{{": a whole macro, or the head of a known one that is not closed.
std::size_t double_brace_end(std::string_view lower, std::size_t at) {
  const std::size_t begin = at + 2, close = lower.find_first_of("{}", begin);
  if (close != kNotFound && close - begin <= kMaxMacro && lower.substr(close).starts_with("}}") &&
      is_macro_text(lower.substr(begin, close - begin)))
    return close + 2;
  const std::string_view name = starts_with_any(lower.substr(begin), kMacroNames);
  const std::size_t end = begin + name.size();
  return name.empty() || is_word_code_point(code_point_after(lower, end)) ? at : end;
}

constexpr std::array<std::string_view, 12> kThinkTags = {
    "think",      "thinking", "thought",    "thoughts",    "reasoning",       "reflection",
    "scratchpad", "analysis", "seed:think", "antthinking", "thought_process", "internal_thought"};
constexpr std::array<std::string_view, 13> kTokenTags = {"start_of_turn",
                                                         "end_of_turn",
                                                         "bos",
                                                         "eos",
                                                         "pad",
                                                         "bos_token",
                                                         "eos_token",
                                                         "pad_token",
                                                         "end_of_utterance",
                                                         "im_start",
                                                         "im_end",
                                                         "start_of_image",
                                                         "sop"};
constexpr std::array<std::string_view, 14> kBracketTokens = {"[SYSTEM_PROMPT]",
                                                             "[/SYSTEM_PROMPT]",
                                                             "[AVAILABLE_TOOLS]",
                                                             "[/AVAILABLE_TOOLS]",
                                                             "[TOOL_CALLS]",
                                                             "[TOOL_RESULTS]",
                                                             "[/TOOL_RESULTS]",
                                                             "[gMASK]",
                                                             "[BOS]",
                                                             "[EOS]",
                                                             "[CLS]",
                                                             "[SEP]",
                                                             "[PAD]",
                                                             "[MASK]"};
constexpr std::string_view kWideBar = "\xEF\xBD\x9C";  // ｜, in tokens of DeepSeek

// Words after `###`. Those that a document may use as a heading of its own count with a colon only.
constexpr std::array<std::string_view, 4> kHeadings = {"instruction", "instructions", "response", "assistant"};
constexpr std::array<std::string_view, 10> kColonHeadings = {"input", "output",   "system", "system prompt", "human",
                                                             "user",  "question", "answer", "prompt",        "gpt"};

class LeftoverLint {
 public:
  LeftoverLint(const LintedText& text, BlockFindings& findings)
      : body_(text.body), lower_(text.lower), findings_(findings) {}

  void run() {
    constexpr auto find_bracket = find_mark<'{', '<', '['>;
    for (std::size_t at = find_bracket(body_, 0); at != kNotFound; at = find_bracket(body_, at)) at = look_at(at);
    lines();
    for (const std::string_view word :
         {"\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81/think\xE2\x96\xB7", "&lt;think&gt;", "&lt;/think&gt;"}) {
      for (std::size_t i = lower_.find(word); i != kNotFound; i = lower_.find(word, i + word.size()))
        findings_.add(LintRule::kThink, {i, i + word.size()});
    }
  }

 private:
  // What begins at a bracket; returns where to go on.
  std::size_t look_at(std::size_t at) {
    switch (body_[at]) {
      case '{':
        return braces(at);
      case '<':
        return angle(at);
      default:
        return square(at);
    }
  }

  std::size_t found(LintRule rule, std::size_t begin, std::size_t end) {
    findings_.add(rule, {begin, end});
    return end;
  }

  std::size_t braces(std::size_t at) {
    if (lower_.substr(at).starts_with("{{")) {
      const std::size_t end = double_brace_end(lower_, at);
      return end > at ? found(LintRule::kMacro, at, end) : at + 1;
    }
    const std::string_view single = starts_with_any(lower_.substr(at), kSingleBraces);
    return single.empty() ? at + 1 : found(LintRule::kMacro, at, at + single.size());
  }

  std::size_t angle(std::size_t at) {
    if (const std::size_t end = bar_token_end(at); end > at) return found(LintRule::kTemplate, at, end);
    for (const std::string_view token : {"<<sys>>", "<</sys>>"}) {
      if (lower_.substr(at).starts_with(token)) return found(LintRule::kTemplate, at, at + token.size());
    }
    const std::size_t close = body_.find_first_of(">\n", at);
    if (close == kNotFound || body_[close] != '>' || close - at > kMaxThinkTag) return at + 1;
    const bool closing = body_.substr(at + 1).starts_with('/');
    const std::size_t begin = at + (closing ? 2 : 1);
    const std::size_t name_end = std::min(body_.find_first_of(" />", begin), close);
    const std::string_view name = body_.substr(begin, name_end - begin), low = lower_.substr(begin, name_end - begin);
    const bool bare = name_end == close || body_.find_first_not_of(" /", name_end) == close;
    if (contains(kThinkTags, low) && (bare || body_.substr(name_end, close - name_end).find('=') != kNotFound))
      return found(LintRule::kThink, at, close + 1);
    if (bare && contains(kTokenTags, low)) return found(LintRule::kTemplate, at, close + 1);
    if (bare && is_byte_token(low)) return found(LintRule::kTemplate, at, close + 1);
    if (bare && (contains(kNameTags, low) || contains(kUpperTags, name))) return found(LintRule::kMacro, at, close + 1);
    return at + 1;
  }

  // `<|im_start|>` and its like.
  std::size_t bar_token_end(std::size_t at) const {
    for (const std::string_view bar : {std::string_view("|"), kWideBar}) {
      const std::size_t begin = at + 1 + bar.size();
      if (!body_.substr(at + 1).starts_with(bar)) continue;
      const std::size_t close = body_.find(bar, begin);
      if (close == kNotFound || close == begin || close - begin > kMaxToken ||
          !body_.substr(close + bar.size()).starts_with('>'))
        continue;
      const std::string_view name = body_.substr(begin, close - begin);
      const bool word = std::any_of(name.begin(), name.end(), [](char c) { return is_ascii_letter(c); });
      if (word && name.find_first_of("<>\n\"") == kNotFound) return close + bar.size() + 1;
    }
    return at;
  }

  // `<0x0A>`, a byte that a tokenizer has no piece for.
  static bool is_byte_token(std::string_view name) {
    return name.size() == 4 && name.starts_with("0x") && name.find_first_not_of("0123456789abcdef", 2) == kNotFound;
  }

  std::size_t square(std::size_t at) {
    const std::string_view token = starts_with_any(body_.substr(at), kBracketTokens);
    if (!token.empty()) return found(LintRule::kTemplate, at, at + token.size());
    const std::size_t close = body_.find(']', at);
    if (close == kNotFound || close - at > kMaxToken) return at + 1;
    std::string_view inner = trim(lower_.substr(at + 1, close - at - 1));
    if (inner.starts_with('/')) inner = trim(inner.substr(1));
    if (inner == "think") return found(LintRule::kThink, at, close + 1);
    const bool own = body_.substr(at).starts_with("[INST]") || body_.substr(at).starts_with("[/INST]");  // text/inst
    return inner == "inst" && !own ? found(LintRule::kTemplate, at, close + 1) : at + 1;
  }

  // Headings of instruction formats.
  void lines() {
    if (!findings_.wants(LintRule::kTemplate) || body_.find("##") == kNotFound) return;
    for (const TextSpan& line : lines_of(lower_)) {
      // In the first line it may stand after the speaker.
      const std::size_t speaker = line.begin == 0 ? lower_.substr(0, line.end).find(": #") : kNotFound;
      const std::size_t from = speaker == kNotFound ? line.begin : speaker + 2;
      const std::size_t begin = std::min(lower_.find_first_not_of(" \t*", from), line.end);
      const std::size_t marks = begin < line.end ? run_length(lower_, begin, '#') : 0;
      if (marks < 2 || marks > 4) continue;
      const std::string_view heading = trim(lower_.substr(begin + marks, line.end - begin - marks));
      if (is_heading(heading)) findings_.add(LintRule::kTemplate, {begin, line.end});
    }
  }

  static bool is_heading(std::string_view text) {
    const std::size_t colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    // `### Response (2 paragraphs):`
    if (const std::size_t bracket = name.find('('); bracket != kNotFound) name = name.substr(0, bracket);
    while (!name.empty() && (name.back() == ' ' || name.back() == '*')) name.remove_suffix(1);
    return contains(kHeadings, name) || (colon != kNotFound && contains(kColonHeadings, name));
  }

  std::string_view body_, lower_;
  BlockFindings& findings_;
};

}  // namespace

bool is_reasoning_tag(std::string_view name) { return contains(kThinkTags, name); }

void lint_leftovers(const LintedText& text, BlockFindings& findings) {
  if (text.bytes.holds_any("{<[#&\xE2")) LeftoverLint(text, findings).run();
}

}  // namespace shori
