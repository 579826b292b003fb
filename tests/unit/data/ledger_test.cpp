#include "shori/data/ledger.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "shori/data/pack_plan.h"
#include "shori/util/json.h"
#include "src/data/packing/shuffle.h"
#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class LedgerTest : public DatasetTest {
 protected:
  Ledger ledger_of(const Dataset& dataset) {
    plan_options.sequence_len = options.sequence_len;
    plan_options.compat = options.compat;
    return build_ledger(dataset, make_pack_plan(sample_costs(dataset.train), plan_options));
  }
  PlanOptions plan_options;
};

TEST_F(LedgerTest, GoldenDocumentB) {
  folder.write("b.blockml", kDocumentB);
  options.overlong = OverlongPolicy::kSplit;
  const LedgerCounts whole = ledger_of(load_good({entry("b.blockml")})).total;
  EXPECT_EQ(whole.unique, 146);
  EXPECT_EQ(whole.tokens_in, 148);
  EXPECT_EQ(whole.targets, 147);
  EXPECT_EQ(whole.bytes_text, 395);
  options.sequence_len = 100;
  const LedgerCounts hundred = ledger_of(load_good({entry("b.blockml")})).total;
  EXPECT_EQ(hundred.tokens_repeated, 18);
  EXPECT_EQ(hundred.repeated_blocks, 15);
  EXPECT_EQ(hundred.repeated_prefixes, 1);
  EXPECT_EQ(hundred.repeated_bos, 1);
  EXPECT_EQ(hundred.repeated_eos, 1);
  EXPECT_EQ(hundred.tokens_packed, 166);
  EXPECT_EQ(hundred.targets, 164);
  options.sequence_len = 110;
  const LedgerCounts more = ledger_of(load_good({entry("b.blockml")})).total;
  EXPECT_EQ(more.tokens_repeated, 28);
  EXPECT_EQ(more.repeated_blocks, 25);
  EXPECT_EQ(more.tokens_packed, 176);
  EXPECT_EQ(more.targets, 174);
}

// Lengths 5, 4, 3 in rows of 9: [5 4] [3].
TEST_F(LedgerTest, GoldenBoundaryTargets) {
  folder.write("ids.jsonl", "{\"input_ids\": [5,5,5,5,5]}\n{\"input_ids\": [6,6,6,6]}\n{\"input_ids\": [7,7,7]}\n");
  options.sequence_len = 9;
  const Dataset dataset = load_good({entry("ids.jsonl", "tokenized")});
  const Ledger plain = ledger_of(dataset);
  EXPECT_EQ(plain.total.targets, 9);
  EXPECT_EQ(plain.total.first_tokens, 3);
  EXPECT_EQ(plain.epochs[0].packs, 2);
  EXPECT_EQ(plain.epochs[0].padding, 64 - 9 + 64 - 3);
  EXPECT_DOUBLE_EQ(plain.epochs[0].fill, 12.0 / 18.0);
  options.compat = true;
  while (random_permutation(3, plan_options.seed) != std::vector<std::uint32_t>{0, 1, 2}) ++plan_options.seed;
  const Ledger compat = ledger_of(dataset);
  EXPECT_EQ(compat.total.targets, 10);
  EXPECT_EQ(compat.total.first_tokens, 2);
}

TEST_F(LedgerTest, CountsOfLinesAndBytes) {
  folder.write("a.jsonl", text_line(kDocumentA) + text_line("▀message\nx▄\n"));
  const Ledger ledger = ledger_of(load_good({entry("a.jsonl")}));
  EXPECT_EQ(ledger.total.bytes_in, static_cast<std::int64_t>(folder.read("a.jsonl").size()));
  EXPECT_EQ(ledger.total.bytes_between, 2);
  EXPECT_EQ(ledger.total.conversations, 2);
  EXPECT_EQ(ledger.total.samples, 2);
  EXPECT_EQ(ledger.longest_sample, 84);
}

TEST_F(LedgerTest, TokensOfTheRun) {
  folder.write("a.blockml", kDocumentA);
  folder.write("b.blockml", kDocumentB);
  plan_options.num_epochs = 3;
  options.sequence_len = 150;
  const Dataset dataset = load_good({entry("a.blockml"), entry("b.blockml")});
  const Ledger ledger = ledger_of(dataset);
  EXPECT_EQ(ledger.tokens_of_run, 3 * (84 + 148));
  EXPECT_EQ(ledger.targets_of_run, 3 * (83 + 147));
  EXPECT_EQ(ledger.steps, 6);
  plan_options.max_steps = 1;
  EXPECT_LT(ledger_of(dataset).tokens_of_run, 84 + 148);
}

// The identities are checked by build_ledger; here they meet every policy, and the counts are redone from the samples.
TEST_F(LedgerTest, IdentitiesHoldOnRandomData) {
  std::mt19937 generator(11);
  for (int round = 0; round < 24; ++round) {
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      std::string text = generator() % 2 ? "▀title\nT" + std::to_string(i) + "▄\n▀tags\na, b▄\n" : "";
      if (generator() % 3 == 0) text += "▀lore\nold things of " + std::to_string(i) + "▄\n";
      for (std::uint32_t k = 0; k < 1 + generator() % 9; ++k) {
        if (generator() % 4 == 0) text += "[INST] note " + std::to_string(k) + " [/INST]\n";
        if (generator() % 5 == 0) text += "▀description\nN" + std::to_string(k % 3) + "\nd▄\n";
        text += "▀message\nA: \"word " + std::to_string(generator() % 1000) + "\"▄\n";
        if (generator() % 4 == 0) text += "▀ooc\nbrb▄\n";
      }
      lines += text_line(text);
    }
    folder.write("c.jsonl", lines);
    options.sequence_len = 110 + round;
    options.overlong = std::array{OverlongPolicy::kSplit, OverlongPolicy::kDrop, OverlongPolicy::kTruncate}[round % 3];
    options.eos = std::array{EosRule::kEnd, EosRule::kConversation, EosRule::kNever}[(round / 3) % 3];
    options.bos = round % 4 != 0;
    options.train_on_inputs = round % 2 == 0;
    options.train_on_eos = false;
    options.compat = round % 5 == 0;
    options.val_set_size = round % 3;
    options.skip_samples.assign(1, "c.jsonl:2");
    plan_options.num_epochs = 2;
    const Dataset dataset = load_good({entry("c.jsonl")});
    const Ledger ledger = ledger_of(dataset);
    std::int64_t packed = 0, held_out = 0;
    for (const Sample& sample : dataset.train) packed += static_cast<std::int64_t>(sample.ids.size());
    for (const HeldOutSet& set : dataset.held_out) {
      for (const Sample& sample : set.samples) held_out += static_cast<std::int64_t>(sample.ids.size());
    }
    EXPECT_EQ(ledger.total.tokens_packed, packed);
    EXPECT_EQ(ledger.total.tokens_held_out, held_out);
    EXPECT_EQ(ledger.total.tokens_in + ledger.total.tokens_repeated, packed + held_out + ledger.total.tokens_dropped());
  }
}

TEST_F(LedgerTest, ACountThatDoesNotAddUpIsABug) {
  folder.write("b.blockml", kDocumentB);
  const Dataset dataset = load_good({entry("b.blockml")});
  for (std::int64_t LedgerCounts::* field :
       {&LedgerCounts::tokens_in, &LedgerCounts::tokens_repeated, &LedgerCounts::tokens_packed,
        &LedgerCounts::tokens_held_out, &LedgerCounts::bytes_in, &LedgerCounts::samples}) {
    Dataset damaged = dataset;
    ++(damaged.file_ledgers[0].counts.*field);
    EXPECT_THROW(ledger_of(damaged), Error);
  }
}

TEST_F(LedgerTest, JsonListsEveryConversationAfterALine) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB, ", \"id\": \"b\""));
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kDrop;
  const std::string text = ledger_of(load_good({entry("c.jsonl")})).to_json();
  JsonProblem problem;
  const auto json = parse_json(text, {1u << 20, 16}, problem);
  ASSERT_TRUE(json) << problem.message;
  EXPECT_EQ(json->find("total")->find("tokens_in")->as_integer(), 232);
  EXPECT_EQ(json->find("total")->find("dropped_overlong")->as_integer(), 148);
  const JsonValue& file = json->find("files")->items.at(0);
  EXPECT_EQ(file.find("path")->text, "c.jsonl");
  const JsonValue& dropped = *file.find("lists")->find("overlong");
  ASSERT_EQ(dropped.items.size(), 1u);
  EXPECT_EQ(dropped.items[0].find("conversation")->text, "c.jsonl:2");
  EXPECT_EQ(dropped.items[0].find("tokens")->as_integer(), 148);
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(LedgerTest, ShortText) {
  folder.write("c.jsonl", text_line(kDocumentA) + text_line(kDocumentB));
  options.sequence_len = 100;
  options.overlong = OverlongPolicy::kDrop;
  EXPECT_EQ(ledger_of(load_good({entry("c.jsonl")})).to_text(),
            "data: 2 conversations in 1 file, 232 tokens\n"
            "trained: 1 sample, 84 tokens = 83 targets + 0 masked + 1 first\n"
            "an epoch: 1 pack, 84.0 % full, 44 padding ids; longest sample 84 of 100\n"
            "dropped, overlong: 148 tokens of 1 conversation: c.jsonl:2 (148)\n");
}

}  // namespace
}  // namespace shori
