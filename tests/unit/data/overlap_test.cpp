#include "src/data/overlap/overlap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

// --- an oracle that shares no code with the program: sets of strings, every pair compared ---

using WordSet = std::set<std::string>;

std::vector<std::string> words_of(const std::string& text) {
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::istringstream in(lower);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

WordSet oracle_shingles(const std::string& text) {
  const std::vector<std::string> words = words_of(text);
  WordSet shingles;
  for (std::size_t i = 0; i + 8 <= words.size(); ++i) {
    std::string shingle;
    for (std::size_t k = i; k < i + 8; ++k) shingle += words[k] + "|";
    shingles.insert(shingle);
  }
  return shingles;
}

double oracle_jaccard(const WordSet& x, const WordSet& y) {
  const auto both = std::count_if(x.begin(), x.end(), [&](const std::string& s) { return y.contains(s); });
  const auto all = static_cast<double>(x.size() + y.size()) - static_cast<double>(both);
  return all == 0 ? 0 : static_cast<double>(both) / all;
}

// --- texts ---

class Words {
 public:
  explicit Words(std::uint32_t seed) : random_(seed) {}
  std::size_t below(std::size_t n) { return random_() % n; }
  // Words of a skewed vocabulary, as texts have them.
  std::string word() { return "w" + std::to_string(below(1 + below(3000))); }
  std::string text(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : " ") + word();
    return text;
  }
  // The text with some words changed, one in `every` of them.
  std::string edited(const std::string& text, std::size_t every) {
    std::string result;
    for (const std::string& old : words_of(text)) {
      result += (result.empty() ? "" : " ") + (below(every) == 0 ? "edit" + std::to_string(below(100000)) : old);
    }
    return result;
  }

 private:
  std::mt19937 random_;
};

OverlapItem item(const std::string& file, const std::string& text, std::int32_t held_out = -1) {
  Segment segment;
  segment.body = text;
  OverlapItem result;
  result.id = result.file = file;
  result.held_out = held_out;
  result.sketch = sketch_conversation(std::span(&segment, 1), {});
  return result;
}

std::string text_of(const Diagnostics& diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics.all()) text += format_diagnostic(diagnostic);
  return text;
}

std::string report(const std::vector<OverlapItem>& items, bool allow = false) {
  Diagnostics diagnostics;
  const std::vector<std::string> sets = {"val", "other"};
  report_overlap(items, find_overlap(items), sets, allow, false, diagnostics);
  return text_of(diagnostics);
}

// A conversation of these messages, each of thirty words made of its letter.
OverlapItem chat(const std::string& file, const std::string& letters, std::int32_t held_out = -1) {
  std::vector<Segment> segments;
  for (const char letter : letters) {
    Segment& segment = segments.emplace_back();
    for (int word = 0; word < 30; ++word) segment.body += std::string(1, letter) + std::to_string(word) + " ";
  }
  OverlapItem result = item(file, "", held_out);
  result.sketch = sketch_conversation(segments, {});
  return result;
}

TEST(Overlap, BranchesShareTheirFirstMessages) {
  const std::vector<OverlapItem> items = {chat("a", "abcdefgHIJKLMN"),    chat("b", "abcdefgOPQRSTU"),
                                          chat("c", "abcVWXYZ012345"),    chat("greeting", "ab6789AB"),
                                          chat("later", "xabcdefghi"),    chat("copy", "abcdefgHIJKLMN"),
                                          chat("eval", "abcdCDEFstuv", 0)};
  std::vector<std::vector<std::size_t>> branches;
  const Overlap overlap = find_overlap(items);
  for (const Branch& branch : overlap.branches) branches.push_back({branch.item, branch.of, branch.messages});
  // Of several, the one that shares most. A greeting alone is no branch, what comes later neither, and a copy is a copy.
  EXPECT_EQ(branches, (std::vector<std::vector<std::size_t>>{{1, 0, 7}, {2, 0, 3}, {6, 0, 4}}));
  const std::string text = report(items);
  EXPECT_NE(text.find("W0301]: 3 conversations are branches of others"), std::string::npos) << text;
  EXPECT_NE(text.find("b = a (the first 7 messages)"), std::string::npos) << text;
  EXPECT_NE(text.find("eval = a (the first 4 messages; one is evaluation data)"), std::string::npos) << text;
}

TEST(Overlap, FoldsCaseAndWhiteSpaceOnly) {
  EXPECT_EQ(fold_text("  Reimu:\n\"Hm  \tM\" É\n"), "reimu: \"hm m\" É");
  EXPECT_EQ(fold_text(""), "");
  EXPECT_EQ(fold_text(" \n"), "");
  EXPECT_EQ(fold_text("a\xC2\xA0"
                      "b"),
            "a\xC2\xA0"
            "b");  // a no-break space is text
}

TEST(Overlap, SketchIsOfTheMessagesAlone) {
  const auto sketch = [](const std::string& text) {
    Diagnostics diagnostics;
    return sketch_conversation(parse_blockml(text, {}, diagnostics)->segments, {});
  };
  const auto plain = sketch("▀message\nAya: One two\n  THREE▄\n▀message\nfour▄\n");
  const auto dressed = sketch(
      "▀title\nx▄\n▀message (length: tiny)\nAya: one Two three▄\n▀ooc\nhm▄\n[INST] y [/INST]\n"
      "▀message\nFour▄\n▀scenario\nz▄\n");
  EXPECT_EQ(plain.folded, dressed.folded);
  EXPECT_EQ(to_hex(plain.folded), sha256_hex("aya: one two three four"));
  EXPECT_TRUE(plain.shingles.empty());
}

TEST(Overlap, EightWordsMakeTheFirstShingle) {
  EXPECT_EQ(sketch_text("1 2 3 4 5 6 7").shingles.size(), 0u);
  EXPECT_EQ(sketch_text("1 2 3 4 5 6 7 8").shingles.size(), 1u);
  EXPECT_EQ(sketch_text("1 2 3 4 5 6 7 8 9").shingles.size(), 2u);
  EXPECT_EQ(sketch_text("a a a a a a a a a a a").shingles.size(), 1u);  // distinct ones
  EXPECT_NE(sketch_text("1 2 3 4 5 6 7 8").shingles, sketch_text("2 1 3 4 5 6 7 8").shingles);
}

TEST(Overlap, LongMessagesAreTakenWithoutTheirSpeaker) {
  std::vector<Segment> segments(3);
  segments[0].body = "Aya: A Long  one";
  segments[1].body = "Aya: a short one";
  segments[2].body = "Momiji: a long one";
  const std::vector<std::int64_t> lengths = {20, 19, 300};
  const ConversationSketch sketch = sketch_conversation(segments, lengths);
  ASSERT_EQ(sketch.messages.size(), 2u);
  EXPECT_EQ(sketch.messages[0], sketch.messages[1]);
}

TEST(Overlap, PartsOfOneIdAreOneConversation) {
  EXPECT_EQ(whole_id("scene#1/2"), "scene");
  EXPECT_EQ(whole_id("a#b#12/34"), "a#b");
  EXPECT_EQ(whole_id("train/chat.1-of-2.blockml"), whole_id("eval/chat.2-of-2.blockml"));
  EXPECT_EQ(whole_id("train/chat.1-of-2.blockml"), "chat.blockml");
  for (const char* whole : {"scene", "scene#1", "scene#1/", "scene#/2", "scene#1/2x", "d/chat.blockml",
                            "chat.1-of-.blockml", "chat.of-2.blockml", ""}) {
    EXPECT_EQ(whole_id(whole), whole);
  }
  const std::string text = report({item("scene#1/2", "one"), item("scene#2/2", "two", 0)});
  EXPECT_NE(text.find("error[E0307]: 1 of 1 evaluation conversations are also in train"), std::string::npos) << text;
  EXPECT_NE(text.find("scene#2/2 = scene#1/2 (the same conversation)"), std::string::npos) << text;
}

TEST(Overlap, NothingInCommonIsNotReported) {
  Words words(1);
  std::vector<OverlapItem> items;
  for (int i = 0; i < 40; ++i) items.push_back(item("c" + std::to_string(i), words.text(100), i < 30 ? -1 : 0));
  EXPECT_EQ(report(items), "");
}

TEST(Overlap, ExactCopiesOfAnyLengthAreFound) {
  const std::string text = report({item("a", "Hi there"), item("b", "hi\nTHERE"), item("c", "x"),
                                   item("d", "hi there", 0), item("e", "y", 0), item("f", "Y", 1)});
  EXPECT_NE(
      text.find("error[E0307]: 1 of 3 evaluation conversations are also in train, 1 of 3 evaluation conversations are "
                "there twice"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("d = a (exact)"), std::string::npos) << text;
  EXPECT_NE(text.find("f = e (exact, both in evaluation data)"), std::string::npos) << text;
  EXPECT_NE(text.find("warning[W0301]: 1 conversation of train is a copy of another"), std::string::npos) << text;
  EXPECT_NE(text.find("b = a (exact)"), std::string::npos) << text;
}

TEST(Overlap, AllowedOverlapIsAWarning) {
  const std::vector<OverlapItem> items = {item("a", "x"), item("d", "x", 0)};
  Diagnostics diagnostics;
  report_overlap(items, find_overlap(items), std::vector<std::string>{"val"}, true, false, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors());
  EXPECT_NE(text_of(diagnostics).find("warning[E0307]: 1 of 1"), std::string::npos) << text_of(diagnostics);
}

// 0.8 itself is near: 20 shingles, of which the other has 20 of 25 in total.
TEST(Overlap, NearBeginsAtTheBound) {
  std::string base;
  for (int i = 0; i < 27; ++i) base += "w" + std::to_string(i) + " ";  // 20 shingles
  std::string at = base, below = base;
  for (int i = 0; i < 5; ++i) at += "x" + std::to_string(i) + " ";
  for (int i = 0; i < 6; ++i) below += "y" + std::to_string(i) + " ";
  ASSERT_DOUBLE_EQ(oracle_jaccard(oracle_shingles(base), oracle_shingles(at)), 0.8);
  EXPECT_NE(report({item("a", base), item("b", at, 0)}).find("b = a (near, 0.80)"), std::string::npos);
  const std::string text = report({item("a", base), item("b", below, 0)});
  EXPECT_EQ(text.find("E0307"), std::string::npos) << text;
  EXPECT_NE(text.find("warning[W0303]: 1 evaluation conversation shares passages with train"), std::string::npos)
      << text;
  EXPECT_NE(text.find("b: 0.76 of it is in train, most of that in a"), std::string::npos) << text;
}

TEST(Overlap, PassagesFromSeveralTrainConversationsAddUp) {
  Words words(5);
  const std::string a = words.text(17), b = words.text(14), own = words.text(60);  // 10 and 7 shingles, 91 - 7 in total
  const std::vector<OverlapItem> items = {item("b", b + " " + words.text(300)), item("a", a + " " + words.text(300)),
                                          item("e", a + " " + own + " " + b, 0)};
  const Overlap overlap = find_overlap(items);
  ASSERT_EQ(overlap.passages.size(), 1u);
  EXPECT_DOUBLE_EQ(overlap.passages[0].share, 17.0 / 84.0);
  EXPECT_EQ(overlap.passages[0].most, 1u);
  EXPECT_TRUE(overlap.in_eval.empty());
  // A little less is not reported.
  EXPECT_TRUE(find_overlap(std::vector<OverlapItem>{items[0], items[1], item("e", a + " " + own + " q r " + b, 0)})
                  .passages.empty());
}

TEST(Overlap, SharedMessagesAboveOnePercent) {
  std::vector<OverlapItem> items = {item("t", "x"), item("e", "y", 0)};
  for (std::uint64_t i = 0; i < 100; ++i) items[1].sketch.messages.push_back(i);
  items[0].sketch.messages = {7};
  EXPECT_EQ(report(items), "");
  items[0].sketch.messages = {7, 1000, 8};
  const std::string text = report(items);
  EXPECT_NE(text.find("warning[W0303]: 2 of 100 long messages of evaluation set `val` are also messages of train"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("the first: e, also in t"), std::string::npos) << text;
}

// Planted copies among random conversations: all exact ones, 99 % of the near ones and no false one, by the oracle.
TEST(Overlap, RecallAndFalsePositivesOnPlantedCopies) {
  Words words(11);
  std::vector<std::string> texts;
  std::vector<std::int32_t> sets;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(words.text(20 + words.below(200)));
    sets.push_back(-1);
  }
  for (int i = 0; i < 200; ++i) {
    const std::string& source = texts[words.below(300)];
    const std::size_t kind = words.below(3);
    texts.push_back(kind == 0 ? source : kind == 1 ? words.edited(source, 80 + words.below(200)) : words.text(80));
    sets.push_back(0);
  }
  std::vector<OverlapItem> items;
  std::vector<WordSet> sets_of_words;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    items.push_back(item(std::to_string(i), texts[i], sets[i]));
    sets_of_words.push_back(oracle_shingles(texts[i]));
  }
  const Overlap overlap = find_overlap(items);
  std::map<std::size_t, Copy> found;
  for (const Copy& copy : overlap.in_eval) found.emplace(copy.item, copy);
  std::size_t exact = 0, near = 0, missed = 0;
  for (std::size_t i = 300; i < texts.size(); ++i) {
    double best = 0;
    bool is_exact = false;
    for (std::size_t j = 0; j < i; ++j) {
      is_exact |= texts[i] == texts[j];
      best = std::max(best, oracle_jaccard(sets_of_words[i], sets_of_words[j]));
    }
    if (is_exact) {
      ++exact;
      ASSERT_TRUE(found.contains(i)) << i;
      EXPECT_EQ(found.at(i).kind, OverlapKind::kExact);
    } else if (best >= 0.8) {
      ++near;
      missed += found.contains(i) ? 0 : 1;
    } else {
      EXPECT_FALSE(found.contains(i)) << i << " has at most " << best;
    }
    if (found.contains(i) && found.at(i).kind == OverlapKind::kNear) {
      EXPECT_NEAR(found.at(i).similarity, oracle_jaccard(sets_of_words[i], sets_of_words[found.at(i).of]), 1e-12);
    }
  }
  EXPECT_GE(exact, 40u);
  EXPECT_GE(near, 20u);
  EXPECT_EQ(missed, 0u) << "of " << near;
}

// Every conversation shares a passage with all others, and some are copies after it: pairs in their millions, which
// only a search that does not look at them all gets through. The copies are found all the same.
TEST(Overlap, APassageThatIsEverywhereNeitherSlowsNorHides) {
  Words words(3);
  const std::string everywhere = words.text(60);
  std::vector<OverlapItem> items;
  std::vector<std::string> texts;
  for (int i = 0; i < 4000; ++i) {
    texts.push_back(everywhere + " " + words.text(14 + words.below(30)));
    items.push_back(item("t" + std::to_string(i), texts.back()));
  }
  for (int i = 0; i < 40; ++i)
    items.push_back(item("e" + std::to_string(i), texts[static_cast<std::size_t>(i) * 90] + " end", 0));
  const Overlap overlap = find_overlap(items);
  EXPECT_TRUE(overlap.in_train.empty());
  ASSERT_EQ(overlap.in_eval.size(), 40u);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(overlap.in_eval[i].of, i * 90);
}

// One conversation in many slight variations: each is reported once, with one partner.
TEST(Overlap, AFamilyOfCopiesIsReportedOnceEach) {
  Words words(4);
  const std::string base = words.text(300);
  std::vector<OverlapItem> items;
  for (int i = 0; i < 3000; ++i) items.push_back(item("t" + std::to_string(i), base + " n" + std::to_string(i)));
  const Overlap overlap = find_overlap(items);
  EXPECT_EQ(overlap.in_train.size(), 2999u);
  const std::string text = report(items);
  EXPECT_NE(text.find("2999 conversations of train are copies of others"), std::string::npos);
  EXPECT_NE(text.find("and 2949 more"), std::string::npos);
}

// --- through the loader ---

using DatasetOverlap = DatasetTest;

std::string message(const std::string& text) { return "▀message\nAya: " + text + "▄\n"; }

TEST_F(DatasetOverlap, HeldOutCopiesAreRefused) {
  options.compare = true;
  options.val_set_size = 1;
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("two")) + text_line(message("ONE")));
  load({entry("t.jsonl")});
  ASSERT_EQ(problems(), (Texts{"E0307 t.jsonl:3"}));
  EXPECT_EQ(diagnostics.all()[0].notes, (Texts{"t.jsonl:3 = t.jsonl:1 (exact)"}));
  EXPECT_TRUE(diagnostics.has_errors());
  options.allow_overlap = true;
  const Dataset dataset = load({entry("t.jsonl")});
  EXPECT_FALSE(diagnostics.has_errors());
  EXPECT_EQ(dataset.train.size(), 2u);
  options.compare = false;
  load_good({entry("t.jsonl")});
}

TEST_F(DatasetOverlap, TestEntriesAreComparedWithTrainAndEachOther) {
  options.compare = true;
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("two")));
  folder.write("e.jsonl", text_line(message("two")) + text_line(message("three")));
  folder.write("f.blockml", message("three"));
  load({entry("t.jsonl")}, {entry("e.jsonl"), entry("f.blockml")});
  ASSERT_EQ(problems(), (Texts{"E0307 e.jsonl:1"}));
  EXPECT_EQ(diagnostics.all()[0].notes,
            (Texts{"e.jsonl:1 = t.jsonl:2 (exact)", "f.blockml = e.jsonl:2 (exact, both in evaluation data)"}));
}

TEST_F(DatasetOverlap, DedupeKeepsTheFirstAndAccountsForTheRest) {
  options.compare = true;
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("two")) + text_line(message("One")) +
                              text_line(message("one")));
  const Dataset all = load({entry("t.jsonl")});
  ASSERT_EQ(problems(), (Texts{"W0301 t.jsonl:3"}));
  EXPECT_EQ(diagnostics.all()[0].notes, (Texts{"t.jsonl:3 = t.jsonl:1 (exact)", "t.jsonl:4 = t.jsonl:1 (exact)"}));
  EXPECT_EQ(all.train.size(), 4u);
  options.dedupe = true;
  const Dataset some = load_good({entry("t.jsonl")});
  ASSERT_EQ(some.train.size(), 2u);
  const FileLedger& ledger = some.file_ledgers[0];
  const auto rule = static_cast<std::size_t>(DropRule::kDuplicate);
  ASSERT_EQ(ledger.dropped[rule].size(), 2u);
  EXPECT_EQ(ledger.dropped[rule][0].location, "t.jsonl:3");
  EXPECT_EQ(ledger.counts.tokens_in, ledger.counts.tokens_packed + ledger.counts.dropped[rule]);
  EXPECT_EQ(ledger.counts.dropped[rule], static_cast<std::int64_t>(all.train[2].ids.size() + all.train[3].ids.size()));
  EXPECT_NE(some.fingerprint, all.fingerprint);
}

TEST_F(DatasetOverlap, CopiesThatAreNotTrainedAreNoCopies) {
  options.compare = true;
  options.val_set_size = 1;
  options.skip_samples = {"t.jsonl:1"};
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("two")) + text_line(message("one")));
  load_good({entry("t.jsonl")});
}

TEST_F(DatasetOverlap, EveryTypeIsCompared) {
  options.compare = true;
  folder.write("c.jsonl", text_line("plain text") + text_line("PLAIN text"));
  folder.write("i.jsonl", "{\"input_ids\": [1, 5, 6]}\n{\"input_ids\": [1, 5, 7]}\n{\"input_ids\": [1, 5, 6]}\n");
  load({entry("c.jsonl", "completion"), entry("i.jsonl", "tokenized")});
  ASSERT_EQ(problems(), (Texts{"W0301 c.jsonl:2"}));
  EXPECT_EQ(diagnostics.all()[0].notes, (Texts{"c.jsonl:2 = c.jsonl:1 (exact)", "i.jsonl:3 = i.jsonl:1 (exact)"}));
}

TEST_F(DatasetOverlap, OfDataWithErrorsOnlyErrorsAreReported) {
  options.compare = true;
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("one")) + "{}\n");
  load({entry("t.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0312 t.jsonl:3:1"}));
  options.warn_with_errors = true;
  load({entry("t.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0312 t.jsonl:3:1", "W0301 t.jsonl:2"}));
}

// Copies need no tokens.
TEST_F(DatasetOverlap, FoundWithoutATokenizer) {
  options.compare = true;
  options.parse_only = true;
  options.val_set_size = 1;
  folder.write("t.jsonl", text_line(message("one")) + text_line(message("two")) + text_line(message("one")));
  diagnostics = Diagnostics();
  load_datasets({entry("t.jsonl")}, {}, options, nullptr, diagnostics);
  EXPECT_EQ(problems(), (Texts{"E0307 t.jsonl:3"}));
}

TEST_F(DatasetOverlap, SharedMessagesCountFromTwentyTokens) {
  options.compare = true;
  const std::string nineteen = "a b c d e f g h i j k l m n o p q r s";
  folder.write("e.jsonl", text_line(message(nineteen) + message("own")));
  folder.write("t.jsonl",
               text_line(message(nineteen) + message("something else to say that is not the same, on and on")));
  load({entry("t.jsonl")}, {entry("e.jsonl")});
  EXPECT_EQ(problems(), (Texts{"W0303 e.jsonl:1"}));  // the passages only
  folder.write("e.jsonl", text_line(message(nineteen + " t") + message("own")));
  folder.write("t.jsonl", text_line("▀message\nMomiji: " + nineteen + " T▄\n" + message("else")));
  load({entry("t.jsonl")}, {entry("e.jsonl")});
  ASSERT_EQ(problems(), (Texts{"W0303 e.jsonl:1", "W0303 e.jsonl:1"}));
  EXPECT_EQ(diagnostics.all()[1].message,
            "1 of 1 long messages of evaluation set `e.jsonl` are also messages of train");
}

TEST_F(DatasetOverlap, SamplesCloseToTheLimitAreNamed) {
  options.compare = true;
  folder.write("a.blockml", kDocumentA);  // 84 ids
  for (const auto& [length, close] : std::map<std::int64_t, bool>{{84, true}, {100, true}, {101, false}}) {
    options.sequence_len = length;
    load({entry("a.blockml")});
    EXPECT_EQ(problems(), close ? Texts{"W0302 a.blockml:1"} : Texts{}) << length;
  }
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kSplit;
  folder.write("a.blockml", kDocumentB);  // parts of 84 and 82 ids, made to fit
  load({entry("a.blockml")});
  EXPECT_EQ(problems(), Texts{});
}

}  // namespace
}  // namespace shori
