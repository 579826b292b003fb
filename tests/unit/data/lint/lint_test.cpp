// Every row of the table of lint rules: where it reports, and where it must not.
#include "shori/data/lint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "shori/config/vocabulary.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori::test {
namespace {

struct Found {
  std::size_t line, column, count;
  bool operator==(const Found&) const = default;
};

void PrintTo(const Found& found, std::ostream* out) {
  *out << found.line << ":" << found.column << " x" << found.count;
}

// Locations of one rule's findings.
std::vector<Found> found_by(const std::string& rule, const std::string& text, const LintOptions& options = {},
                            const std::vector<std::int64_t>& message_ids = {}) {
  const BlockmlDocument document = parsed(text);
  std::vector<Found> result;
  std::vector<LintFinding> findings = lint_document(document, message_ids, options);
  std::erase_if(findings, [&](const LintFinding& finding) { return lint_rule_name(finding.rule) != rule; });
  std::size_t next = 0;
  print_findings(document, text, {"a.blockml", 0}, findings, [&](Diagnostic problem) {
    EXPECT_EQ(problem.rule, rule);
    EXPECT_TRUE(problem.message.starts_with(rule + ": ")) << problem.message;
    result.push_back({problem.location.line, problem.location.column, findings[next++].count});
  });
  return result;
}

std::string message(const std::string& body) { return "▀message\n" + body + "▄\n"; }

struct Case {
  const char* rule;
  std::string text;
  std::vector<Found> found;
};

std::vector<Case> prose_cases() {
  return {
      {"prose/thoughts", message("A: _Ugh._ and _oh"), {{2, 15, 1}}},
      {"prose/thoughts", message("A: _Ugh._ snake_case é_é 1_2"), {}},
      {"prose/thoughts", message("A: _one\n\n_two"), {{2, 4, 2}}},
      {"prose/thoughts", message("A: _one\ntwo_"), {}},
      {"prose/thoughts", message("A: ```\n_\n```"), {}},
      {"prose/thoughts", "▀title\na _ b▄\n▀tags\n_▄\n" + message("A: x"), {}},
      {"prose/thoughts",
       "▀lore\n_a▄\n▀scenario\n_b▄\n▀description\n_c▄\n" + message("A: x") + "▀ooc\n_d▄\n",
       {{2, 1, 1}, {4, 1, 1}, {6, 1, 1}, {10, 1, 1}}},
      {"prose/onomatopoeia", message("A: *Thud"), {{2, 4, 1}}},
      {"prose/onomatopoeia", message("A: *Thud* **no**"), {}},
      {"prose/onomatopoeia", message("A:\n* one\n  * two"), {}},
      {"prose/onomatopoeia", message("A: a * b"), {{2, 6, 1}}},
      {"prose/emphasis", message("A: **no"), {{2, 4, 1}}},
      {"prose/emphasis", message("A: **no** ***x**"), {{2, 11, 2}}},
      {"prose/emphasis", message("A: **no**"), {}},
      {"prose/emphasis", message("A: ****"), {{2, 4, 1}}},
      {"prose/dialogue-quotes", message("A: \"Hi\" she said. \"And"), {{2, 19, 1}}},
      {"prose/dialogue-quotes", message("A: \"Hi.\n\n\"There.\""), {}},
      {"prose/dialogue-quotes", message("A: \"Hi.\n\nThere."), {{2, 4, 1}}},
      {"prose/dialogue-quotes", message("A: \"Hi\""), {}},
      {"prose/curly-quotes", message("A: “Hi” ‘x’ «y» „z‚"), {{2, 4, 8}}},
      {"prose/curly-quotes", message("A: \"Hi\" 'x' `y`"), {}},
      {"prose/nondialogue-quotes", message("A: the 'sacred gate' is shut"), {{2, 8, 1}}},
      {"prose/nondialogue-quotes", message("A: the ''gate'' isn't the girls' gate, 'tis 'bout don't"), {}},
      {"prose/nondialogue-quotes", message("A: the ''gate"), {{2, 8, 1}}},
      {"prose/nondialogue-quotes", message("A: 'no end\nof a line'"), {}},
      {"prose/caps", message("A: NO, I am NOT."), {{2, 4, 2}}},
      {"prose/caps", message("A: I a Xy É"), {}},
      {"prose/quoted-lines", message("A:\n>one\n> two\n>> three"), {{3, 1, 1}}},
      {"prose/quoted-lines", message("A: a >b\n> c"), {}},
      {"prose/fences", message("A: ```markdown\nx"), {{2, 4, 1}}},
      {"prose/fences", message("A: ```\nx\n``` y"), {{4, 4, 1}}},
      {"prose/fences", message("A: ```markdown\nx\n```\ny"), {}},
      {"prose/emoji", message("A: 😀😀😀😀 \"Hi\""), {{2, 4, 1}}},
      {"prose/emoji", message("A: 😀😀😀 \"Hi\" 😀 _oh_ 👨‍👩‍👧\"x\""), {}},
      {"prose/emoji", message("A: 😀 smiles\n😀 too"), {}},
      {"prose/emoji", message("A: \"Hi\" 😀"), {{2, 9, 1}}},
      {"prose/emoji", message("A: x ♪ ★ y"), {}},
      {"prose/ellipsis", message("A: x… y.... z..."), {{2, 5, 2}}},
      {"prose/ellipsis", message("A: x... y.."), {}},
      {"prose/spacing", message("A: x  y !"), {{2, 5, 2}}},
      {"prose/spacing", message("A: x y!\n  z  \nw"), {}},
      {"prose/spacing", message("A: x ? y"), {{2, 5, 1}}},
  };
}

std::vector<Case> other_cases() {
  const std::string x = message("A: x");
  return {
      {"privacy/username", message("A: ask @wenna or u/tam"), {{2, 8, 2}}},
      {"privacy/username", message("A: [quote=Tam] and Originally posted by Tam"), {{2, 4, 2}}},
      {"privacy/username", message("A: a@b.org, a @ b, menu/list, @ 5"), {}},
      {"privacy/internal-url", message("A: http://localhost:80 file:///x"), {{2, 11, 2}}},
      {"privacy/internal-url", message("A: 10.0.0.1 172.31.1.1. 192.168.0.9 127.0.0.1"), {{2, 4, 4}}},
      {"privacy/internal-url", message("A: 172.32.1.1 11.0.0.1 10.0.0 10.0.0.0.1 the file: x"), {}},
      {"privacy/internal-url", message("A: a/viewtopic.php?x /threads/1 /members/2 index.php?topic=3"), {{2, 6, 4}}},
      {"privacy/internal-url", message("A: https://example.org/page"), {}},
      {"ooc/inline", message("A: x (OOC: brb) y ((z)) [OOC ok]"), {{2, 6, 3}}},
      {"ooc/inline", message("A: (aside) [note] (ooc)"), {}},
      {"ooc/inline", message("A: (OOC: open"), {}},
      {"ooc/inline", "▀lore\n(OOC: x)▄\n" + x, {}},
      {"structure/no-speaker", message("It rains."), {{1, 1, 1}}},
      {"structure/no-speaker", x, {}},
      {"structure/unknown-speaker",
       "▀description\nReimu▄\n" + message("Aya: x") + message("Reimu: y") + message("Aya: z"),
       {{3, 1, 2}}},
      {"structure/unknown-speaker", "▀description\nHakurei Reimu▄\n" + message("Reimu: y"), {}},
      {"structure/name-drift", message("Reimu: x") + message("REIMU: y"), {{3, 1, 1}}},
      {"structure/name-drift", message("Reimu: x") + message("Remiu: y"), {{3, 1, 1}}},
      {"structure/name-drift", message("Reimu: x") + message("Reim: y"), {{3, 1, 1}}},
      {"structure/name-drift", message("Réimu: x") + message("Reimu: y"), {{3, 1, 1}}},
      {"structure/name-drift", message("Reimu: x") + message("Marisa: y") + message("Reimu: z"), {}},
      {"order/tags", "▀tags\na▄\n" + x, {{1, 1, 1}}},
      {"order/tags", "▀title\na▄\n▀lore\nb▄\n▀tags\nc▄\n" + x, {{5, 1, 1}}},
      {"order/tags", "▀title\na▄\n▀tags\nb▄\n" + x, {}},
      {"order/title", "▀lore\na▄\n▀title\nb▄\n" + x, {{3, 1, 1}}},
      {"order/title", "▀title\na▄\n▀lore\nb▄\n▀title\nc▄\n" + x + "▀title\nd▄\n" + x, {}},
      {"order/title", x + "▀title\na▄\n" + x, {}},
      {"order/duplicate-description", "▀description\nA\nx▄\n▀description\nA\ny▄\n" + x, {{4, 1, 1}}},
      {"order/duplicate-description", "▀description\nA▄\n▀description\nB▄\n" + x + "▀description\nA▄\n" + x, {}},
      {"order/no-effect", x + "▀lore\na▄\n[INST] b [/INST]\n▀ooc\nc▄\n", {{3, 1, 1}, {5, 1, 1}}},
      {"order/no-effect", "▀lore\na▄\n" + x + "▀ooc\nc▄\n", {}},
      {"text/inst", message("A: [INST] x [/INST]"), {{2, 4, 2}}},
      {"text/inst", "▀title\n[INST]▄\n" + x, {{2, 1, 1}}},
      {"text/inst", "[INST] x [/INST]\n" + x, {}},
      {"text/u2581", message("A: a▁b") + "[INST] ▁ [/INST]\n" + x, {{2, 5, 1}, {3, 8, 1}}},
      {"text/u2581", message("A: a_b"), {}},
      {"text/lookalike", message("█A: x▌"), {{2, 1, 2}}},
      {"text/lookalike", message("A: x█y"), {}},
      {"text/lookalike", "▀title\nx▆▄\n" + message("A: y▃"), {{2, 2, 1}, {4, 5, 1}}},
  };
}

std::vector<Case> leftover_cases() {
  const std::string x = message("A: x");
  return {
      {"text/macro", message("A: hi {{user}}, {{ char }} and {{random::a,b}}"), {{2, 7, 3}}},
      {"text/macro", message("A: <USER> met {char}; {{user}'s {{[INPUT]}} {{// x}}"), {{2, 4, 5}}},
      {"text/macro", "▀title\n{{char}}▄\n" + x + "[INST] Be {{char}}. [/INST]\n", {{2, 1, 1}, {5, 11, 1}}},
      {"text/macro", message("A: {{1,2},{3}} {a} {{}} { {x} } <user name> <Charlotte> {{users of}"), {}},
      {"text/think", message("A: <think>\nhm\n</think>\n\"Hi\""), {{2, 4, 2}}},
      {"text/think", message("A: [THINK] x [/THINK] <Thinking foo=\"1\"> &lt;think&gt; ◁think▷"), {{2, 4, 5}}},
      {"text/think", message("A: I think <I think> and [thinking hard] think> <thinker>"), {}},
      {"text/template", message("A: x<|im_end|>\n<|im_start|>user"), {{2, 5, 2}}},
      {"text/template", message("A: ### Instruction:\nx"), {{2, 4, 1}}},
      {"text/template", message("A: x\n### Instruction:\ny\n### Response (2 paragraphs):\nz"), {{3, 1, 2}}},
      {"text/template",
       message("A: <<SYS>> <start_of_turn> <｜User｜> [TOOL_CALLS] [ inst ] <0x0A> <EOS>"),
       {{2, 4, 7}}},
      {"text/template", message("A: <|> a | b |> <||> x < y > z [instead] [Inst.] <0x0G>"), {}},
      {"text/template", "▀lore\n### System\nThe response: ## none\n## Answers\n# Response▄\n" + x, {}},
      {"text/refusal", message("A: \"As an AI language model, I cannot\" x"), {{2, 11, 1}}},
      {"text/refusal", message("A: I'm sorry, but I can’t continue this roleplay."), {{2, 19, 1}}},
      {"text/refusal", message("A: As an AI, I have no feelings. I cannot fulfill your request."), {{2, 4, 2}}},
      {"text/refusal", message("A: I cannot fulfill that."), {{2, 4, 1}}},
      {"text/refusal", message("A: I apologize, but I don't feel comfortable writing that."), {{2, 21, 1}}},
      {"text/refusal", message("A: I apologize, but I’m unable to help with that."), {{2, 21, 1}}},
      {"text/refusal",
       message("A: \"As an AI, I feel nothing,\" said the ship. \"I can't help with that.\" I cannot help it. I won't "
               "write to him, said Tam. I am just an aide. I can't create a content life here."),
       {}},
      {"text/refusal", "▀description\nHal, an AI language model▄\n" + x, {}},
      {"text/url", message("A: see https://a.org/x, www.b.de and discord.gg/x1 ![](a.png) c.com"), {{2, 8, 5}}},
      {"text/url", message("A: a.b c...com file.txt no.Community and/or 3.5/4 stop.It http: // x ![a] (b) ://"), {}},
      {"text/url", message("A: ```\nhttps://a.org\n```"), {}},
      {"text/html", message("A: a<br>b <i>c</i> &amp; &#39; <a href=\"x\">"), {{2, 5, 6}}},
      {"text/html", message("A: <!-- x --> [color=red]y[/color] </status>"), {{2, 4, 4}}},
      {"text/html", message("A: a < b > c <b and c> <sigh> R&B; Q&A &; [i] [b] a=[1] <<p <3 </s x"), {}},
      {"text/html", message("A: ```html\n<br>\n```"), {}},
      {"privacy/email", message("A: to tam.o+x@mail.example.org."), {{2, 7, 1}}},
      {"privacy/email", message("A: @tam a@b a @ b.org x@.org y@1.2"), {}},
      {"privacy/username", message("Anon: x") + message("A: y") + message("Anon: z"), {{1, 1, 2}}},
      {"privacy/username", message("A: she looks at Anon. Anon's hand"), {{2, 17, 2}}},
      {"privacy/username", message("Anonna: Anon, good nurse! Anon. An Anonymous letter to you\nAnon"), {}},
      {"structure/doubled-speaker", message("Mira: Mira: \"Both.\""), {{2, 7, 1}}},
      {"structure/doubled-speaker",
       message("Mira Vale: **Mira:** x") + message("Mira:\n[Mira]: y") + message("Mira: mira: z"),
       {{2, 12, 1}, {5, 1, 1}, {7, 7, 1}}},
      {"structure/doubled-speaker",
       message("Mira: Mirabel: x") + message("Mira: \"Mira: no.\"") + message("Mira: :"),
       {}},
      {"structure/other-speaker", message("Mira: x\nTam: y") + message("Tam: z"), {{3, 1, 1}}},
      {"structure/other-speaker", message("It rains.\n**Tam:** y\n<Tam> z\nYou: a") + message("Tam: z"), {{3, 1, 3}}},
      {"structure/other-speaker", "▀description\n**Name:** Tam▄\n" + message("Mira: x\nTam: y"), {{5, 1, 1}}},
      {"structure/other-speaker", message("Mira: Tam: y") + message("Tam: z"), {{2, 7, 1}}},
      {"structure/other-speaker",
       message("Mira: to Tam: y\nNote: Tam:x\nTam said: no\n```\nTam: 3\n```") + message("Tam: x"),
       {}},
      {"structure/repeated-message",
       message("A: one two three four five six") + message("B: x") + message("A: One  two three four\nfive six"),
       {{5, 1, 1}}},
      {"structure/repeated-message", message("A: Ha!") + message("A: Ha!"), {{3, 1, 1}}},
      {"structure/repeated-message",
       message("A: Yes, of course.") + message("B: x") + message("A: Yes, of course.") + message("A: ...") +
           message("A: ..."),
       {}},
  };
}

std::vector<std::vector<Case>> all_cases() { return {prose_cases(), other_cases(), leftover_cases()}; }

TEST(Lint, EachRuleAtItsLocationAndNowhereElse) {
  for (const auto& cases : all_cases()) {
    for (const Case& c : cases) EXPECT_EQ(found_by(c.rule, c.text), c.found) << c.rule << "\n" << c.text;
  }
}

// Each rule of the table has a case that fires and one that does not.
TEST(Lint, EveryRuleIsTested) {
  for (const std::string_view rule : kWords<LintRule>) {
    if (rule == "length/mismatch") continue;  // has its own test
    int fires = 0, silent = 0;
    for (const auto& cases : all_cases()) {
      for (const Case& c : cases) {
        if (c.rule == rule) ++(c.found.empty() ? silent : fires);
      }
    }
    EXPECT_TRUE(fires > 0 && silent > 0) << rule;
  }
}

TEST(Lint, MismatchIsMoreThanTwoStepsAway) {
  const auto hinted = [](const std::string& word) { return "▀message (length: " + word + ")\nA: x y z▄\n"; };
  const std::string rule = "length/mismatch";
  const std::vector<Found> here = {{1, 1, 1}};
  // 100 tokens are medium.
  EXPECT_EQ(found_by(rule, hinted("micro"), {}, {100}), here);
  EXPECT_EQ(found_by(rule, hinted("tiny"), {}, {100}), (std::vector<Found>{}));
  EXPECT_EQ(found_by(rule, hinted("massive"), {}, {100}), (std::vector<Found>{}));
  EXPECT_EQ(found_by(rule, hinted("huge"), {}, {100}), here);
  EXPECT_EQ(found_by(rule, hinted("huge")), (std::vector<Found>{})) << "without a tokenizer nothing is known";
  LintOptions words;
  words.buckets.unit = LengthUnit::kWords;
  EXPECT_EQ(found_by(rule, hinted("huge"), words), here);
  EXPECT_EQ(found_by(rule, "▀message\nA: x▄\n", {}, {1000}), (std::vector<Found>{}));
}

TEST(Lint, ListedNamesAndHostsAreErrors) {
  LintOptions options;
  options.usernames = {"wenna42", "old tam"};
  options.internal_hosts = {"forum.example.org"};
  const auto levels = [&](const std::string& body) {
    std::vector<std::string> result;
    for (const LintFinding& finding : lint_document(parsed(message(body)), {}, options)) {
      if (lint_rule_name(finding.rule).starts_with("privacy/"))
        result.push_back(std::string(lint_rule_name(finding.rule)) + " " + std::string(lint_level_name(finding.level)));
    }
    return result;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(levels("A: Wenna42 said"), Texts{"privacy/username error"});
  EXPECT_EQ(levels("A: with Old Tam."), Texts{"privacy/username error"});
  EXPECT_EQ(levels("A: wenna421 xwenna42 bold tame"), Texts{});
  EXPECT_EQ(levels("A: @wenna42"), (Texts{"privacy/username warn", "privacy/username error"}));
  EXPECT_EQ(levels("A: https://Forum.example.org/x www.forum.example.org"), Texts{"privacy/internal-url error"});
  EXPECT_EQ(levels("A: myforum.example.org forum.example.org.uk forum.example.organ"), Texts{});
  options.levels[static_cast<std::size_t>(LintRule::kUsername)] = LintLevel::kInfo;
  EXPECT_EQ(levels("A: @wenna42"), (Texts{"privacy/username info", "privacy/username info"}));
  options.levels[static_cast<std::size_t>(LintRule::kUsername)] = LintLevel::kOff;
  EXPECT_EQ(levels("A: @wenna42"), Texts{});
}

TEST(Lint, LevelsDecideCodeAndSeverity) {
  const std::string text = message("A: _x");
  const BlockmlDocument document = parsed(text);
  const auto reported = [&](LintLevel level) {
    LintOptions options;
    options.levels[static_cast<std::size_t>(LintRule::kThoughts)] = level;
    std::vector<LintFinding> findings = lint_document(document, {}, options);
    std::erase_if(findings, [](const LintFinding& finding) { return finding.rule != LintRule::kThoughts; });
    std::string result;
    print_findings(document, text, {"a.blockml", 0}, findings, [&](Diagnostic problem) {
      result += problem.code + " " + std::string(severity_name(problem.severity));
    });
    return result;
  };
  EXPECT_EQ(reported(LintLevel::kOff), "");
  EXPECT_EQ(reported(LintLevel::kInfo), "W0304 info");
  EXPECT_EQ(reported(LintLevel::kWarn), "W0304 warning");
  EXPECT_EQ(reported(LintLevel::kError), "E0319 error");
  LintOptions training;
  training.errors_only = true;
  for (const LintFinding& finding : lint_document(parsed(message("A: _x ▁ …")), {}, training))
    EXPECT_EQ(lint_rule_name(finding.rule), "text/u2581");
}

TEST(Lint, LocationsInsideALineOfJson) {
  const std::string text = message("A: _x");
  const BlockmlDocument document = parsed(text);
  print_findings(document, text, {"a.jsonl", 7}, lint_document(document, {}, {}), [&](const Diagnostic& problem) {
    EXPECT_EQ(problem.location.line, 7u);
    if (problem.rule == "prose/thoughts") {
      EXPECT_TRUE(problem.message.ends_with("(text 2:4)")) << problem.message;
    }
  });
}

// The first position counts in the text as it was read, in whatever variant it is written.
TEST(Lint, LocationsInAcceptedVariants) {
  EXPECT_EQ(found_by("prose/thoughts", "\n ▀message A: _x ▄ ▀message  \n\n  B: _y\n▄"),
            (std::vector<Found>{{2, 14, 1}, {4, 6, 1}}));
}

TEST(Lint, ManySpeakersAndMarksStayLinear) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += message("Name" + std::to_string(i) + ": " + std::string(200, '('));
  const BlockmlDocument document = parsed(text);
  EXPECT_FALSE(lint_document(document, {}, {}).empty());
}

TEST(LintFix, ChangesWhatItCanAndKeepsTheRest) {
  const auto fixed = [](const std::string& text) {
    BlockmlDocument document = parsed(text);
    fix_document(document, {});
    return render(document);
  };
  EXPECT_EQ(fixed(message("A: “Hi”… x  y ! ‘z’....")), message("A: \"Hi\"... x y! 'z'..."));
  EXPECT_EQ(fixed(message("A:\n>one\n>> two\n>")), message("A:\n> one\n>> two\n>"));
  EXPECT_EQ(fixed(message("A: ```\n“x”  …\n``` ‘y’")), message("A: ```\n“x”  …\n``` 'y'"));
  EXPECT_EQ(fixed(message("A: \"Hi\" (OOC: brb) she _said")), message("A: \"Hi\" she _said") + "▀ooc\nbrb▄\n");
  EXPECT_EQ(fixed(message("A: x\n((one (two)))\ny [OOC ok]")), message("A: x\ny") + "▀ooc\none (two)▄\n▀ooc\nok▄\n");
  EXPECT_EQ(fixed(message("A: (OOC: brb)") + message("B: x")), message("A: (OOC: brb)") + message("B: x"));
  EXPECT_EQ(fixed("▀title\n“a”  b▄\n" + message("A: x") + "[INST] “c” [/INST]\n"),
            "▀title\n“a”  b▄\n" + message("A: x") + "[INST] “c” [/INST]\n");
}

TEST(LintFix, OfRulesThatAreOffTouchesNothing) {
  LintOptions options;
  for (auto& level : options.levels) level = LintLevel::kOff;
  const std::string text = message("A: “Hi”…  (OOC: x) y");
  BlockmlDocument document = parsed(text);
  EXPECT_EQ(fix_document(document, options).fixed, LintFixes{});
  EXPECT_EQ(fix_document(document, options).dropped, LintFixes{});
  EXPECT_EQ(render(document), text);
}

TEST(LintRules, NamesAreThoseOfTheConfig) {
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    EXPECT_EQ(find_word<LintRule>(kWords<LintRule>[i]), static_cast<LintRule>(i));
  }
  EXPECT_EQ(find_word<LintRule>("prose/none"), std::nullopt);
  EXPECT_EQ(LintOptions().level(LintRule::kU2581), LintLevel::kError);
  EXPECT_EQ(LintOptions().level(LintRule::kCaps), LintLevel::kInfo);
  EXPECT_EQ(LintOptions().level(LintRule::kLookalike), LintLevel::kWarn);
}

}  // namespace
}  // namespace shori::test
