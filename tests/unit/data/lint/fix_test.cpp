// Fixes change what is said and never what a block is, whatever the text looks like.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "shori/data/lint.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori::test {
namespace {

constexpr LintRule kFixable[] = {LintRule::kCurlyQuotes, LintRule::kQuotedLines, LintRule::kEllipsis,
                                 LintRule::kSpacing, LintRule::kInlineOoc};

std::string message(const std::string& body) { return "▀message\n" + body + "▄\n"; }

std::size_t of(const LintFixes& fixes, LintRule rule) { return fixes[static_cast<std::size_t>(rule)]; }

LintOptions only(LintRule rule) {
  LintOptions options;
  for (auto& level : options.levels) level = LintLevel::kOff;
  options.levels[static_cast<std::size_t>(rule)] = LintLevel::kWarn;
  return options;
}

std::string fixed(const std::string& text, const LintOptions& options = {}) {
  BlockmlDocument document = parsed(text);
  fix_document(document, options);
  return render(document);
}

// Role, hint, speaker and separator of a block.
std::string head(const Segment& segment) {
  std::string text = std::string(role_name(segment.role)) + '|' + std::string(length_name(segment.hint)) + '|';
  const auto speaker = segment.role == Role::kMessage ? find_speaker(segment.body) : std::nullopt;
  return speaker ? text + segment.body.substr(0, speaker->text_begin) : text + "(none)";
}

std::vector<std::string> heads(const BlockmlDocument& document, bool with_ooc) {
  std::vector<std::string> result;
  for (const Segment& segment : document.segments) {
    if (with_ooc || segment.role != Role::kOoc) result.push_back(head(segment));
  }
  return result;
}

std::string without_all(std::string text, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at))
      text.erase(at, word.size());
  }
  return text;
}

// What a text has beside the characters that a rule writes and replaces.
std::string untouched(const std::string& text, LintRule rule) {
  static const std::map<LintRule, std::vector<std::string>> kTouched = {
      {LintRule::kCurlyQuotes, {"‘", "’", "‚", "“", "”", "„", "«", "»", "'", "\""}},
      {LintRule::kQuotedLines, {" "}},
      {LintRule::kEllipsis, {"…", "."}},
      {LintRule::kSpacing, {" "}},
      {LintRule::kInlineOoc, {" ", "\n", "\t"}}};
  return without_all(text, kTouched.at(rule));
}

std::string untouched_by_all(std::string text) {
  for (const LintRule rule : kFixable) text = untouched(text, rule);
  return text;
}

bool is_part_in_order(const std::string& part, const std::string& whole) {
  std::size_t at = 0;
  for (const char c : whole) at += at < part.size() && part[at] == c ? 1 : 0;
  return at == part.size();
}

// Messages that try to be taken for something else once they are fixed.
class TrickyDocuments {
 public:
  explicit TrickyDocuments(unsigned seed) : random_(seed) {}

  BlockmlDocument document() {
    BlockmlDocument result;
    for (std::size_t i = random_.below(4); i > 0; --i) result.segments.push_back(segment(any_role()));
    for (std::size_t i = random_.below(8); i > 0; --i)
      result.segments.push_back(segment(random_.below(3) != 0 ? Role::kMessage : any_role()));
    result.segments.push_back(segment(Role::kMessage));
    for (std::size_t i = random_.below(2); i > 0; --i) result.segments.push_back(segment(any_role()));
    return result;
  }

 private:
  Role any_role() { return static_cast<Role>(random_.below(kRoleCount)); }

  std::string one_of(const std::vector<std::string>& words) { return words[random_.below(words.size())]; }

  std::string speaker() {
    return one_of({"",
                   "",
                   "Wenna: ",
                   "Tam: ",
                   "Tam:\n",
                   "Tam:  ",
                   "O’Brien: ",
                   "Old  Tam: ",
                   "So…: ",
                   "“Hi”: ",
                   "What ?: ",
                   "日本: ",
                   "Tam ((x)): ",
                   "(OOC: a)Tam: ",
                   "(OOC: a) Tam: ",
                   "((a))\nTam: ",
                   "Tam:(OOC: b) ",
                   "\xC2\xA0Tam: ",
                   "Tam\xE3\x80\x80: ",
                   std::string(61, 'n') + "  nn: ",
                   std::string(62, 'n') + "....: ",
                   std::string(63, 'n') + " !: "});
  }

  std::string body(Role role) {
    static const std::vector<std::string> kPieces = {"!",
                                                     "?",
                                                     " !",
                                                     " ?",
                                                     "?!",
                                                     "...",
                                                     "....",
                                                     "…",
                                                     "“",
                                                     "”",
                                                     "‘",
                                                     "’",
                                                     "«",
                                                     "\"",
                                                     "''",
                                                     "*",
                                                     "**",
                                                     "***",
                                                     "_",
                                                     ":",
                                                     ": ",
                                                     " ",
                                                     "  ",
                                                     "\n",
                                                     "\n\n",
                                                     "\t",
                                                     "\xC2\xA0",
                                                     "\xE3\x80\x80",
                                                     "\xE2\x80\x89",
                                                     ">",
                                                     "\n>",
                                                     "\n> ",
                                                     "![](https://x)",
                                                     " ![a](b)",
                                                     "```",
                                                     "\n```\n",
                                                     "(OOC: brb)",
                                                     "((b))",
                                                     "[OOC c]",
                                                     "((Tam: d))",
                                                     "(",
                                                     ")",
                                                     "[INST]",
                                                     "x",
                                                     "I knew.",
                                                     "Tam: ",
                                                     "O’Brien",
                                                     "Old  Tam",
                                                     "message",
                                                     "(length: tiny)",
                                                     "<",
                                                     "s>",
                                                     "😀",
                                                     "`"};
    std::string text = role == Role::kMessage || random_.below(8) == 0 ? speaker() : "";
    for (std::size_t i = random_.below(10) + 1; i > 0; --i) text += kPieces[random_.below(kPieces.size())];
    if (random_.below(150) == 0) text += "\r\nx";
    return text;
  }

  Segment segment(Role role) {
    constexpr std::string_view kWhite = " \t\n";
    Segment segment;
    segment.role = role;
    if (role == Role::kMessage && random_.below(2) == 0) segment.hint = static_cast<LengthHint>(random_.below(10));
    while (segment.body.empty()) {
      std::string text = body(role);
      text.erase(0, std::min(text.find_first_not_of(kWhite), text.size()));
      text.erase(text.find_last_not_of(kWhite) + 1);
      segment.body = text;
    }
    return segment;
  }

  RandomDocuments random_;
};

// What must hold whichever rules are on.
void expect_same_blocks(const BlockmlDocument& before, const BlockmlDocument& after, const FixOutcome& outcome) {
  const std::size_t lifted = of(outcome.fixed, LintRule::kInlineOoc);
  EXPECT_EQ(heads(after, lifted == 0), heads(before, lifted == 0));
  EXPECT_EQ(after.segments.size(), before.segments.size() + lifted);
  std::vector<const Segment*> kept;
  for (const Segment& segment : after.segments) {
    if (segment.role != Role::kOoc || lifted == 0) kept.push_back(&segment);
  }
  std::size_t next = 0;
  for (const Segment& segment : before.segments) {
    if (segment.role == Role::kOoc && lifted > 0) continue;
    const std::string& body = kept.at(next++)->body;
    if (segment.role == Role::kTitle || segment.role == Role::kTags || segment.role == Role::kInst) {
      EXPECT_EQ(body, segment.body);
    } else if (lifted == 0 || segment.role != Role::kMessage) {
      EXPECT_EQ(untouched_by_all(body), untouched_by_all(segment.body));
    } else {
      EXPECT_TRUE(is_part_in_order(untouched_by_all(body), untouched_by_all(segment.body))) << body;
    }
  }
}

void expect_rule_touches_only_its_characters(const BlockmlDocument& before, const BlockmlDocument& after,
                                             LintRule rule) {
  if (rule == LintRule::kInlineOoc) return;
  for (std::size_t i = 0; i < before.segments.size(); ++i)
    EXPECT_EQ(untouched(after.segments.at(i).body, rule), untouched(before.segments[i].body, rule));
}

// A finding is left where its fix was dropped, and nowhere else.
void expect_findings_left(const BlockmlDocument& after, const LintOptions& options, const FixOutcome& outcome) {
  LintFixes left{};
  for (const LintFinding& finding : lint_document(after, {}, options))
    left[static_cast<std::size_t>(finding.rule)] += finding.count;
  for (const LintRule rule : kFixable) EXPECT_EQ(of(left, rule), of(outcome.dropped, rule)) << lint_rule_name(rule);
}

struct Tally {
  std::size_t documents = 0, refused = 0;
  LintFixes fixed{}, dropped{};
};

void check(const std::string& text, const LintOptions& options, Tally& tally) {
  Diagnostics diagnostics;
  const auto before = parse_blockml(text, {}, diagnostics);
  if (!before) {
    ++tally.refused;
    return;
  }
  BlockmlDocument document = *before;
  const FixOutcome outcome = fix_document(document, options);
  const std::string once = render(document);
  const BlockmlDocument after = parsed(once);
  ASSERT_EQ(render(after), once);
  expect_same_blocks(*before, after, outcome);
  expect_findings_left(after, options, outcome);
  BlockmlDocument again = after;
  const FixOutcome second = fix_document(again, options);
  EXPECT_EQ(render(again), once);
  EXPECT_EQ(second.fixed, LintFixes{});
  EXPECT_EQ(second.dropped, outcome.dropped);
  ++tally.documents;
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    tally.fixed[i] += outcome.fixed[i];
    tally.dropped[i] += outcome.dropped[i];
  }
}

TEST(LintFixProperty, EachFixAloneKeepsEveryBlock) {
  for (const LintRule rule : kFixable) {
    TrickyDocuments random(100 + static_cast<unsigned>(rule));
    Tally tally;
    for (int round = 0; round < 1500 && !testing::Test::HasFailure(); ++round) {
      const std::string text = render(random.document());
      SCOPED_TRACE(std::string(lint_rule_name(rule)) + "\n" + text);
      check(text, only(rule), tally);
      Diagnostics diagnostics;
      const auto before = parse_blockml(text, {}, diagnostics);
      if (before) expect_rule_touches_only_its_characters(*before, parsed(fixed(text, only(rule))), rule);
    }
    EXPECT_GT(tally.documents, 1000u);
    EXPECT_GT(of(tally.fixed, rule), 100u) << lint_rule_name(rule);
    EXPECT_GT(of(tally.dropped, rule), 0u) << lint_rule_name(rule);
  }
}

TEST(LintFixProperty, AllFixesTogetherKeepEveryBlock) {
  TrickyDocuments random(7);
  Tally tally;
  for (int round = 0; round < 4000 && !testing::Test::HasFailure(); ++round) {
    const std::string text = render(random.document());
    SCOPED_TRACE(text);
    check(text, {}, tally);
  }
  EXPECT_GT(tally.documents, 3000u);
  EXPECT_GT(tally.refused, 0u) << "texts with CR are among them";
}

TEST(LintFixProperty, OrdinaryDocumentsToo) {
  RandomDocuments random(11);
  Tally tally;
  for (int round = 0; round < 300 && !testing::Test::HasFailure(); ++round) {
    const std::string text = render(random.segments());
    SCOPED_TRACE(text);
    check(text, {}, tally);
  }
  EXPECT_EQ(tally.refused, 0u);
}

TEST(LintFix, NeverTakesTheSpaceAfterASpeaker) {
  for (const std::string body : {"Wenna: ?!", "Tam: ! I knew.", "Tam: ![](https://x)", "![](https://x)", "Tam:\n! x",
                                 "Tam: ?", "O’Brien: x", "Old  Tam: x", "So…: x", "“Hi”: x"})
    EXPECT_EQ(fixed(message(body)), message(body));
  EXPECT_EQ(fixed(message("Aya:  x  y")), message("Aya: x y"));
  EXPECT_EQ(fixed(message("Aya:   !x")), message("Aya: !x"));
  EXPECT_EQ(fixed(message("Aya: ? what ?")), message("Aya: ? what?"));
}

TEST(LintFix, NeverGivesNarrationASpeaker) {
  const std::string long_name(61, 'n');
  for (const std::string& body : std::vector<std::string>{long_name + "  nn: x", long_name + "n ?: x",
                                                          "(OOC: brb) Aya: x", "[OOC brb]Aya: x", "Aya:(OOC: brb) x"})
    EXPECT_EQ(fixed(message(body)), message(body));
  EXPECT_EQ(fixed(message(long_name + "  nn: x  y")), message(long_name + "  nn: x y")) << "the other one is fixed";
}

TEST(LintFix, NeverEmptiesAMessageNorOpensAFence) {
  for (const std::string body :
       {"A: (OOC: brb)", "((brb))", "A: (OOC: x) ((y))", "A: ```\nf((x))\n```", "A: (OOC: ```) “x”  y ```"})
    EXPECT_EQ(fixed(message(body) + message("B: x")), message(body) + message("B: x"));
  EXPECT_EQ(fixed(message("A: (OOC: x)\nB: y")), message("A: B: y") + "▀ooc\nx▄\n") << "the separator stays";
}

TEST(LintFix, NeverLetsATextGrowIntoWhatIsRefused) {
  EXPECT_EQ(fixed(message("A: <((x))s>")), message("A: < s>") + "▀ooc\nx▄\n");
  // The block is as large as it may be: there is no room for a space.
  const std::string frame = "▀message\nA:\n>▄";
  const std::string full = message("A:\n>" + std::string(kBlockBytes - frame.size(), 'x'));
  EXPECT_EQ(fixed(full), full);
}

TEST(LintFix, SpellsANameAsItsSpeaker) {
  const std::string text = "▀description\nO’Brien\n**Name:** O’Brien▄\n" + message("O’Brien: x") +
                           message("Tam: “Where’s O’Brien ?”") + message("O'Hara: y");
  EXPECT_EQ(fixed(text), "▀description\nO’Brien\n**Name:** O’Brien▄\n" + message("O’Brien: x") +
                             message("Tam: \"Where's O’Brien?\"") + message("O'Hara: y"));
}

// Each pass lifts the innermost note and so makes a note of what stood around it.
TEST(LintFix, LeavesNotesThatAreNestedTooDeep) {
  const auto nested = [](int depth) {
    std::string body = "A: x [OOC: a] z";
    for (int i = 0; i < depth; ++i) body.replace(body.find("[OOC: a]"), 8, "[OOC[OOC: a]b]");
    return message(body);
  };
  EXPECT_EQ(fixed(nested(2)), message("A: x z") + "▀ooc\nb▄\n▀ooc\nb▄\n▀ooc\na▄\n");
  EXPECT_EQ(fixed(nested(150)), nested(150));
}

TEST(LintFix, CountsWhatItDrops) {
  BlockmlDocument document = parsed(message("Wenna: ?! x  y") + message("A: (OOC: x)"));
  const FixOutcome outcome = fix_document(document, {});
  EXPECT_EQ(of(outcome.fixed, LintRule::kSpacing), 1u);
  EXPECT_EQ(of(outcome.dropped, LintRule::kSpacing), 1u);
  EXPECT_EQ(of(outcome.fixed, LintRule::kInlineOoc), 0u);
  EXPECT_EQ(of(outcome.dropped, LintRule::kInlineOoc), 1u);
}

}  // namespace
}  // namespace shori::test
