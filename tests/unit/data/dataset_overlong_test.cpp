// Conversations that are longer than sequence_len.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "shori/util/json.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

using Lengths = std::vector<std::size_t>;

Lengths lengths_of(const std::vector<Sample>& samples) {
  Lengths lengths;
  for (const Sample& sample : samples) lengths.push_back(sample.ids.size());
  return lengths;
}

TEST_F(DatasetTest, ASampleOfExactlySequenceLenIsTakenAndOneMoreIsNot) {
  folder.write("b.blockml", kDocumentB);
  options.sequence_len = 148;
  EXPECT_EQ(lengths_of(load_good({entry("b.blockml")}).train), (Lengths{148}));
  options.sequence_len = 147;
  load({entry("b.blockml")});
  EXPECT_EQ(problems(), (Texts{"E0305 b.blockml:1"}));
}

TEST_F(DatasetTest, RaiseListsEveryConversationAndThreeWaysOut) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB) + text_line(kDocumentB + "▀message\nx▄\n"));
  options.sequence_len = 100;
  load({entry("c.jsonl")});
  ASSERT_EQ(problems(), (Texts{"E0305 c.jsonl:2"}));
  const Diagnostic& problem = diagnostics.all()[0];
  EXPECT_EQ(problem.message, "2 of 3 conversations are longer than `sequence_len` 100");
  EXPECT_EQ(problem.notes, (Texts{"c.jsonl:2: 148 ids (+48)", "c.jsonl:3: 154 ids (+54)"}));
  ASSERT_EQ(problem.helps.size(), 3u);
  EXPECT_NE(problem.helps[0].find("`sequence_len: 160`"), std::string::npos);
  EXPECT_NE(problem.helps[1].find("`excess_length_strategy: split`"), std::string::npos);
  EXPECT_NE(problem.helps[2].find("`excess_length_strategy: drop`"), std::string::npos);
}

TEST_F(DatasetTest, DropLeavesOutAndLists) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB));
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kDrop;
  const Dataset dataset = load_good({entry("c.jsonl")});
  EXPECT_EQ(lengths_of(dataset.train), (Lengths{84}));
  const FileLedger& ledger = dataset.file_ledgers[0];
  EXPECT_EQ(ledger.counts.tokens_in, 84 + 148);
  EXPECT_EQ(ledger.counts.tokens_dropped(), 148);
  ASSERT_EQ(ledger.dropped[0].size(), 1u);
  EXPECT_EQ(ledger.dropped[0][0].location, "c.jsonl:2");
}

TEST_F(DatasetTest, SplitPartsHaveTheDocumentedSizes) {
  folder.write("b.blockml", kDocumentB);
  options.overlong = OverlongPolicy::kSplit;
  struct Case {
    int budget;
    Lengths parts;
    const char* why;
  };
  const Case cases[] = {{.budget = 148, .parts = {148}, .why = "all of it fits"},
                        {.budget = 120, .parts = {108, 68}, .why = "the first part takes what fits"},
                        {.budget = 110, .parts = {108, 68}, .why = "it still fits"},
                        {.budget = 100, .parts = {84, 82}, .why = "the first part has one unit less"},
                        {.budget = 90, .parts = {84, 82}, .why = "both still fit"}};
  for (const auto& [budget, parts, why] : cases) {
    options.sequence_len = budget;
    const Dataset dataset = load_good({entry("b.blockml")});
    EXPECT_EQ(lengths_of(dataset.train), parts) << why;
    EXPECT_EQ(dataset.conversations.size(), 1u);
  }
  options.sequence_len = 100;
  const Dataset dataset = load_good({entry("b.blockml")});
  EXPECT_EQ(dataset.location_of(dataset.train[1]), "b.blockml#2/2");
}

TEST_F(DatasetTest, AUnitThatDoesNotFitIsReportedUnderSplit) {
  folder.write("b.blockml", kDocumentB);
  options.overlong = OverlongPolicy::kSplit;
  options.sequence_len = 30;
  load({entry("b.blockml")});
  ASSERT_EQ(problems(), (Texts{"E0305 b.blockml:1"}));
  EXPECT_NE(diagnostics.all()[0].notes[0].find("one message with what belongs to it has"), std::string::npos);
}

TEST_F(DatasetTest, TheLengthThatSplitNamesTakesEveryUnit) {
  const auto message = [](std::size_t size) { return "▀message\n" + std::string(size, 'q') + "▄\n"; };
  folder.write("b.blockml", kDocumentB + message(200) + message(300));
  options.overlong = OverlongPolicy::kSplit;
  options.sequence_len = 100;
  load({entry("b.blockml")});
  ASSERT_EQ(problems(), (Texts{"E0305 b.blockml:1"}));
  const std::string& help = diagnostics.all()[0].helps[0];
  options.sequence_len = std::stoi(help.substr(help.find(": ") + 2));
  load_good({entry("b.blockml")});
}

// Each length does what is said of it, and one that is smaller by a rounding step does not.
TEST_F(DatasetTest, TheLengthsThatAreNamedAreThoseThatItTakes) {
  const auto message = [](std::size_t size) { return "▀message\n" + std::string(size, 'q') + "▄\n"; };
  folder.write("b.blockml", kDocumentB + message(200) + message(300));
  for (const OverlongPolicy policy : {OverlongPolicy::kRaise, OverlongPolicy::kSplit, OverlongPolicy::kTruncate}) {
    options.overlong = policy;
    options.sequence_len = 30;
    load({entry("b.blockml")});
    ASSERT_EQ(problems(), (Texts{"E0305 b.blockml:1"}));
    const auto named = [helps = diagnostics.all()[0].helps](std::string_view what) {
      const auto help = std::ranges::find_if(helps, [&](const std::string& text) { return text.ends_with(what); });
      return help == helps.end() ? 0 : std::stoi(help->substr(help->find(": ") + 2));
    };
    const int whole = named("` takes them whole");
    const int enough = policy == OverlongPolicy::kSplit ? named("` takes every message, each conversation in parts")
                       : policy == OverlongPolicy::kTruncate ? named("` takes at least the first message of each")
                                                             : whole;
    options.sequence_len = whole;
    ASSERT_EQ(load_good({entry("b.blockml")}).train.size(), 1u);
    EXPECT_EQ(load_good({entry("b.blockml")}).file_ledgers[0].counts.tokens_dropped(), 0);
    EXPECT_GT(load_good({entry("b.blockml")}).train[0].ids.size() + 16, static_cast<std::size_t>(whole));
    options.sequence_len = enough;
    load_good({entry("b.blockml")});
    options.sequence_len = enough - 16;
    load({entry("b.blockml")});
    EXPECT_EQ(problems(), (Texts{"E0305 b.blockml:1"}));
  }
}

TEST_F(DatasetTest, EosOfSplitConversations) {
  folder.write("b.blockml", kDocumentB);
  options.overlong = OverlongPolicy::kSplit;
  options.sequence_len = 100;
  options.eos = EosRule::kConversation;
  const Dataset dataset = load_good({entry("b.blockml")});
  EXPECT_EQ(dataset.train[0].ids.back(), 13);
  EXPECT_EQ(dataset.train[1].ids.back(), 2);
  EXPECT_EQ(dataset.file_ledgers[0].counts.repeated_eos, 0);
}

TEST_F(DatasetTest, TruncateCutsAfterTheLastWholeUnit) {
  folder.write("b.blockml", kDocumentB);
  options.overlong = OverlongPolicy::kTruncate;
  options.sequence_len = 100;
  const Dataset dataset = load_good({entry("b.blockml")});
  EXPECT_EQ(lengths_of(dataset.train), (Lengths{84}));
  EXPECT_EQ(dataset.train[0].ids.back(), 2);
  EXPECT_EQ(dataset.file_ledgers[0].counts.dropped[static_cast<std::size_t>(DropRule::kTruncated)], 148 - 84);
}

TEST_F(DatasetTest, TextWithoutBlocksIsNotCut) {
  folder.write("plain.jsonl", "{\"text\": \"hello world hello\"}\n");
  options.sequence_len = 6;
  for (const OverlongPolicy policy : {OverlongPolicy::kRaise, OverlongPolicy::kSplit, OverlongPolicy::kTruncate}) {
    options.overlong = policy;
    load({entry("plain.jsonl", "completion")});
    EXPECT_EQ(problems(), (Texts{"E0305 plain.jsonl:1"}));
  }
  folder.write("ids.jsonl", "{\"input_ids\": [1, 2, 3, 4, 5, 6, 7]}\n");
  load({entry("ids.jsonl", "tokenized")});
  EXPECT_EQ(problems(), (Texts{"E0305 ids.jsonl:1"}));
}

// 16,372 ids of 16,384: the longest conversation of the published data, whichever policy counts BOS and EOS.
TEST_F(DatasetTest, TheLongestPublishedConversationFitsUnderEveryPolicy) {
  std::string ids = "[5";
  for (int i = 1; i < 16372; ++i) ids += ",5";
  folder.write("ids.jsonl", "{\"input_ids\": " + ids + "]}\n");
  std::string text = "▀message\nx";
  for (int i = 0; i < 16364; ++i) text += "\n";
  folder.write("long.jsonl", text_line(text + "x▄\n"));
  options.sequence_len = 16384;
  EXPECT_EQ(lengths_of(load_good({entry("ids.jsonl", "tokenized")}).train), (Lengths{16372}));
  for (const bool bos : {true, false}) {
    for (const EosRule eos : {EosRule::kEnd, EosRule::kConversation, EosRule::kNever}) {
      options.bos = bos;
      options.eos = eos;
      const std::size_t extra = (bos ? 1 : 0) + (eos == EosRule::kNever ? 0 : 1);
      EXPECT_EQ(lengths_of(load_good({entry("long.jsonl")}).train), (Lengths{16372 + extra}));
    }
  }
}

// 101 ids of text, BOS and EOS: 103 in slices of 40, later ones without BOS, all but the last without EOS.
TEST_F(DatasetTest, CompatSlicesCompletionText) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "abc ";
  folder.write("plain.txt", text);
  options.compat = true;
  options.sequence_len = 40;
  const Dataset dataset = load_good({entry("plain.txt", "completion")});
  EXPECT_EQ(lengths_of(dataset.train), (Lengths{40, 40, 23}));
  EXPECT_EQ(dataset.train[0].ids.front(), 1);
  EXPECT_NE(dataset.train[1].ids.front(), 1);
  EXPECT_NE(dataset.train[1].ids.back(), 2);
  EXPECT_EQ(dataset.train[2].ids.back(), 2);
  EXPECT_EQ(dataset.train[2].parts, 3u);
  std::vector<std::int32_t> joined;
  for (const Sample& sample : dataset.train) joined.insert(joined.end(), sample.ids.begin(), sample.ids.end());
  EXPECT_EQ(std::vector<std::int32_t>(joined.begin() + 1, joined.end() - 1), test_tokenizer().encode(text));
}

// 64 * sequence_len = 64 ids: the rest is cut off, as the tokenizer's max_length did, and there is no EOS.
TEST_F(DatasetTest, CompatCutsCompletionTextAt64Sequences) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "abc ";
  folder.write("plain.txt", text);
  options.compat = true;
  options.sequence_len = 1;
  const Dataset dataset = load_good({entry("plain.txt", "completion")});
  EXPECT_EQ(dataset.train.size(), 64u);
  EXPECT_NE(dataset.train.back().ids.back(), 2);
  const LedgerCounts& counts = dataset.file_ledgers[0].counts;
  EXPECT_EQ(counts.tokens_in, 102);
  EXPECT_EQ(counts.tokens_packed, 64);
  EXPECT_EQ(counts.dropped[static_cast<std::size_t>(DropRule::kTruncated)], 38);
}

TEST_F(DatasetTest, CompatDropsOtherData) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB));
  options.compat = true;
  options.sequence_len = 100;
  EXPECT_EQ(lengths_of(load_good({entry("c.jsonl")}).train), (Lengths{84}));
}

}  // namespace
}  // namespace shori
