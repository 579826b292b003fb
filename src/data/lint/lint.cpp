#include "shori/data/lint.h"

#include <algorithm>
#include <limits>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_problem.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

struct RuleRow {
  LintLevel level;
  std::string_view message, help;
};

using enum LintLevel;
// In the order of LintRule.
constexpr RuleRow kRules[kLintRuleCount] = {
    {kWarn, "unbalanced `_`: a thought begins here and does not end", "write one on each side: _Ugh._"},
    {kWarn, "unbalanced `*`: a sound or action begins here and does not end", "write one on each side: *Thud*"},
    {kWarn, "odd number of `**` in a paragraph, or three or more `*` in a row", "emphasis stands between two: **no**"},
    {kWarn, "odd number of `\"` in a paragraph",
     "close the dialogue, or open the next paragraph with `\"` where the speech runs on"},
    {kWarn, "quotes that are not ASCII", "write `\"` or `'`"},
    {kWarn, "words in single `'...'`, or an odd number of `''` in a paragraph",
     "quotes that are no dialogue are two apostrophes on each side: ''word''"},
    {kInfo, "words in capitals", "louder text may stand in capitals; the words are only counted"},
    {kWarn, "line starts with `>` but not with `> `", "write `> ` before the quoted text"},
    {kWarn, "a fence of backticks is not closed, or text follows the closing one",
     "put ``` on a line of its own after the formatted text"},
    {kWarn, "more than 3 emoji in a run, or emoji that do not precede a dialogue or thought",
     "put 1 to 3 of them directly before the dialogue or thought, or delete them"},
    {kInfo, "ellipsis that is not three dots", "write `...`"},
    {kInfo, "several spaces in a row, or a space before `!` or `?`", "one space, or none"},
    {kWarn, "name of a user", "only names of characters remain: delete it"},
    {kWarn, "address inside the source", "delete it"},
    {kWarn, "talk out of character inside a message", "move it to a block `ooc`"},
    {kInfo, "message without a speaker", "narration may stand so; else `Name: text`"},
    {kInfo, "no description for", "add a block `description`, or correct the name"},
    {kWarn, "two speakers whose names differ by one character or by case", "spell each name the same everywhere"},
    {kWarn, "`tags` not directly after a `title`", "move it after its title"},
    {kWarn, "the first `title` stands after other blocks", "move it to the front"},
    {kWarn, "second description of a character with no message between", "join the two"},
    {kWarn, "block after the last message", "nothing follows that it could describe: move or delete it"},
    {kInfo, "the length hint is far from the text's length", "correct the hint, or delete it"},
    {kWarn, "literal `[INST]` or `[/INST]` in a block", "an instruction stands between blocks"},
    {kError, "U+2581 in a text: to the tokenizer it is a space", "write another character"},
    {kWarn, "a character that looks like ▀ or ▄ at the edge of a block",
     "probably mistyped: the marks are U+2580 and U+2584"},
    {kWarn, "macro of a chat program", "write the name, or what the macro stands for"},
    {kWarn, "reasoning of a model", "delete it with all that it encloses"},
    {kWarn, "mark of another prompt format", "delete it: BlockML has its own marks"},
    {kWarn, "a model speaks of itself or refuses", "delete the message, or write what the character says"},
    {kInfo, "address or picture", "delete it if it is not part of the story"},
    {kWarn, "markup of a page or forum", "write the text itself: `&` for `&amp;`, a line break for `<br>`"},
    {kWarn, "e-mail address", "delete it"},
    {kWarn, "the speaker is written twice", "delete the second name"},
    {kWarn, "another speaker begins inside a message", "end the block before it, and begin one of its own"},
    {kWarn, "the same message again", "delete one of the two"},
};

const RuleRow& row(LintRule rule) { return kRules[static_cast<std::size_t>(rule)]; }

// Findings are handed on in the order of their rules.
std::size_t found_key(LintRule rule, bool listed) { return 2 * static_cast<std::size_t>(rule) + (listed ? 1 : 0); }

bool has_lists(LintRule rule) { return rule == LintRule::kUsername || rule == LintRule::kInternalUrl; }

bool is_prose_role(Role role) {
  return role == Role::kMessage || role == Role::kLore || role == Role::kScenario || role == Role::kDescription ||
         role == Role::kOoc;
}

// Marks that resemble ▀ and ▄: U+2588, U+258C, U+2590, U+2586, U+2583.
bool is_lookalike(std::string_view character) {
  constexpr std::string_view kLookalikes[] = {"█", "▌", "▐", "▆", "▃"};
  return std::find(std::begin(kLookalikes), std::end(kLookalikes), character) != std::end(kLookalikes);
}

void find_all(std::string_view body, std::string_view word, LintRule rule, BlockFindings& findings) {
  for (std::size_t at = body.find(word); at != std::string_view::npos; at = body.find(word, at + word.size()))
    findings.add(rule, {at, at + word.size()});
}

void lint_text(const Segment& segment, const LintedText& text, BlockFindings& findings) {
  const std::string_view body = segment.body;
  if (segment.is_block() && text.bytes.holds('[')) {
    find_all(body, "[INST]", LintRule::kInst, findings);
    find_all(body, "[/INST]", LintRule::kInst, findings);
  }
  find_all(body, "\xE2\x96\x81", LintRule::kU2581, findings);
  constexpr std::size_t kBytes = 3;  // of every lookalike
  if (is_lookalike(body.substr(0, kBytes))) findings.add(LintRule::kLookalike, {0, kBytes});
  if (body.size() > kBytes && is_lookalike(body.substr(body.size() - kBytes)))
    findings.add(LintRule::kLookalike, {body.size() - kBytes, body.size()});
}

// What was never part of the story, wherever it stands.
void lint_foreign(const Segment& segment, const LintedText& text, BlockFindings& findings) {
  lint_leftovers(text, findings);
  if (segment.role == Role::kMessage || segment.role == Role::kOoc) lint_refusals(text, findings);
  if (is_prose_role(segment.role)) lint_markup(text, findings);
}

void lint_ooc(const LintedText& text, BlockFindings& findings) {
  if (!text.bytes.holds_any("([")) return;
  for (const InlineOoc& ooc : find_inline_ooc(text.body)) findings.add(LintRule::kInlineOoc, ooc.span);
}

// Where the body of a segment begins in the text that it was read from.
std::size_t body_begin(const Segment& segment, std::string_view text) {
  const std::size_t close = segment.is_block() ? kBlockClose.size() : std::string_view("[/INST]").size();
  const std::string_view raw = text.substr(segment.begin, segment.end - segment.begin - close);
  const std::size_t last = raw.find_last_not_of(" \t\n");
  return segment.begin + last + 1 - segment.body.size();
}

// "no description for `Old Tam`", "two speakers ...: `Tam` and `Tan`".
std::string full_message(const LintFinding& finding) {
  if (finding.subject.empty()) return finding.message;
  return concat(finding.message, finding.message.ends_with(" for") ? " " : ": ", finding.subject);
}

// Whether a rule from `first` to `last` is not off.
bool any_level(const LintOptions& options, LintRule first, LintRule last) {
  for (auto i = static_cast<std::size_t>(first); i <= static_cast<std::size_t>(last); ++i) {
    const auto rule = static_cast<LintRule>(i);
    if (options.level(rule) != LintLevel::kOff || options.level(rule, true) != LintLevel::kOff) return true;
  }
  return false;
}

}  // namespace

std::string_view lint_rule_message(LintRule rule) { return row(rule).message; }
std::string_view lint_rule_help(LintRule rule) { return row(rule).help; }

LintLevel LintOptions::level(LintRule rule, bool listed) const {
  const LintLevel by_default = listed && has_lists(rule) ? LintLevel::kError : row(rule).level;
  const LintLevel wanted = levels[static_cast<std::size_t>(rule)].value_or(by_default);
  return errors_only && wanted != LintLevel::kError ? LintLevel::kOff : wanted;
}

void BlockFindings::add(LintRule rule, TextSpan span, bool listed, std::string_view detail) {
  const LintLevel level = options_.level(rule, listed);
  if (level == LintLevel::kOff) return;
  const LintFinding first{rule, level, segment_, std::numeric_limits<std::size_t>::max(), 1, 0, {}, {}};
  LintFinding& finding = found_.try_emplace(found_key(rule, listed), first).first->second;
  ++finding.count;
  if (span.begin >= *finding.offset) return;
  finding.offset = span.begin;
  finding.bytes = span.end - span.begin;
  finding.message = std::string(detail.empty() ? lint_rule_message(rule) : detail);
}

void BlockFindings::add_block(LintRule rule, std::string message, std::string subject, std::size_t count) {
  const LintLevel level = options_.level(rule);
  if (level == LintLevel::kOff) return;
  const LintFinding finding{rule, level, segment_, std::nullopt, 1, count, std::move(message), std::move(subject)};
  found_.insert_or_assign(found_key(rule, false), finding);
}

void BlockFindings::move_to(std::vector<LintFinding>& all) {
  for (auto& [key, finding] : found_) {
    if (finding.count > 1 && finding.offset) finding.message += concat(" (", finding.count, " in this block)");
    all.push_back(std::move(finding));
  }
}

std::vector<LintFinding> lint_document(const BlockmlDocument& document, std::span<const std::int64_t> message_ids,
                                       const LintOptions& options) {
  std::vector<LintFinding> all;
  const bool prose = any_level(options, LintRule::kThoughts, LintRule::kSpacing);
  const bool others = any_level(options, LintRule::kUsername, LintRule::kInlineOoc);
  const bool foreign = any_level(options, LintRule::kMacro, LintRule::kEmail);
  for (std::size_t i = 0; i < document.segments.size(); ++i) {
    const Segment& segment = document.segments[i];
    const LintedText text(segment.body);
    BlockFindings findings(i, options);
    lint_text(segment, text, findings);
    if (foreign) lint_foreign(segment, text, findings);
    if ((prose || others) && is_prose_role(segment.role)) {
      const bool message = segment.role == Role::kMessage;
      if (prose) lint_prose(text, message ? segment.body.size() - message_text(segment.body).size() : 0, findings);
      lint_privacy(text, findings);
      if (message) lint_ooc(text, findings);
    }
    findings.move_to(all);
  }
  lint_structure(document, message_ids, options, all);
  if (any_level(options, LintRule::kDoubledSpeaker, LintRule::kRepeatedMessage) ||
      any_level(options, LintRule::kUsername, LintRule::kUsername))
    lint_speakers(document, options, all);
  const auto position = [](const LintFinding& f) { return std::pair(f.segment, f.offset ? *f.offset + 1 : 0); };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return position(a) < position(b); });
  return all;
}

void print_findings(const BlockmlDocument& document, std::string_view text, const TextSource& source,
                    std::span<const LintFinding> findings, const std::function<void(Diagnostic)>& report) {
  TextCursor cursor(text);
  for (const LintFinding& finding : findings) {
    const Segment& segment = document.segments[finding.segment];
    const bool error = finding.level == LintLevel::kError;
    const std::string_view name = lint_rule_name(finding.rule);
    Diagnostic problem(error ? "E0319" : "W0304", concat(name, ": ", full_message(finding)));
    problem.rule = name;
    problem.subject = finding.subject;
    if (finding.level == LintLevel::kInfo) problem.severity = Severity::kInfo;
    problem.help(std::string(lint_rule_help(finding.rule)));
    if (error) problem.help(concat("or `lint: {", name, ": warn}` in the config"));
    if (text.empty()) {
      problem.at(source.file, segment.line, segment.column);
    } else if (finding.offset) {
      const std::size_t at = body_begin(segment, text) + *finding.offset;
      cursor.move_to(at);
      problem = text_problem(std::move(problem), source, cursor, count_code_points(text.substr(at, finding.bytes)));
    } else {
      cursor.move_to(segment.begin);
      problem = text_problem(std::move(problem), source, cursor);
    }
    report(std::move(problem));
  }
}

}  // namespace shori
