#include "src/train/plan/make_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "shori/data/pack_plan.h"
#include "shori/ops/packed_batch.h"
#include "shori/util/error.h"
#include "shori/util/ignored_label.h"
#include "src/data/packing/shuffle.h"

namespace shori {
namespace {

using Ints = std::vector<std::int32_t>;

// ids 100 * number + index, all trained.
Sample make_sample(std::uint32_t number, std::size_t length) {
  Sample sample;
  for (std::size_t i = 0; i < length; ++i) sample.ids.push_back(static_cast<std::int32_t>(100 * number + i));
  sample.trained.assign(length, 1);
  sample.conversation = number;
  return sample;
}

// A plan in which the samples are one row, in the order given.
PackPlan one_row_plan(const std::vector<Sample>& samples, std::int64_t sequence_len, bool compat) {
  PlanOptions options;
  options.sequence_len = sequence_len;
  options.compat = compat;
  PackPlan plan = make_pack_plan(sample_costs(samples), options);
  EXPECT_EQ(plan.row_count(), 1u);
  for (std::uint32_t i = 0; i < plan.entries.size(); ++i) plan.entries[i] = i;
  return plan;
}

// cu_seqlens by Axolotl's collator: starts are the zeros of position_ids before the trailing ones, then the ends.
Ints cu_seqlens_of_positions(const Ints& positions) {
  std::size_t end = positions.size();
  while (end > 0 && positions[end - 1] == 0) --end;
  Ints result;
  for (std::size_t i = 0; i < end; ++i) {
    if (positions[i] == 0) result.push_back(static_cast<std::int32_t>(i));
  }
  result.push_back(static_cast<std::int32_t>(end));
  if (end < positions.size()) result.push_back(static_cast<std::int32_t>(positions.size()));
  return result;
}

TEST(BatchStream, CuSeqlensOfTheTwoExamples) {
  const std::vector<Sample> two = {make_sample(0, 12000), make_sample(1, 385)};
  const PackedBatch padded = make_batch(two, one_row_plan(two, 16384, false), 0);
  EXPECT_EQ(padded.cu_seqlens, (Ints{0, 12000, 12385, 12416}));
  EXPECT_EQ(padded.ids.size(), 12416u);
  EXPECT_EQ(padded.max_seqlen, 12000);
  EXPECT_EQ(padded.real_tokens, 12385);
  const std::vector<Sample> three = {make_sample(0, 9000), make_sample(1, 7000), make_sample(2, 384)};
  EXPECT_EQ(make_batch(three, one_row_plan(three, 16384, false), 0).cu_seqlens, (Ints{0, 9000, 16000, 16384}));
}

TEST(BatchStream, AWholeRowByHand) {
  std::vector<Sample> samples = {make_sample(1, 4), make_sample(2, 3)};
  samples[1].trained = {1, 0, 1};
  const PackedBatch batch = make_batch(samples, one_row_plan(samples, 64, false), 0);
  ASSERT_EQ(batch.ids.size(), 64u);
  EXPECT_EQ(Ints(batch.ids.begin(), batch.ids.begin() + 9), (Ints{100, 101, 102, 103, 200, 201, 202, 2, 2}));
  EXPECT_EQ(Ints(batch.labels.begin(), batch.labels.begin() + 8), (Ints{101, 102, 103, -100, -100, 202, -100, -100}));
  EXPECT_EQ(Ints(batch.position_ids.begin(), batch.position_ids.begin() + 9), (Ints{0, 1, 2, 3, 0, 1, 2, 0, 0}));
  EXPECT_EQ(batch.cu_seqlens, (Ints{0, 4, 7, 64}));
  EXPECT_EQ(batch.targets, 4);
  EXPECT_EQ(batch.samples, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_TRUE(batch.roles.empty());
}

TEST(BatchStream, CompatKeepsTheTargetThatCrossesABoundary) {
  const std::vector<Sample> samples = {make_sample(1, 4), make_sample(2, 3)};
  const PackedBatch batch = make_batch(samples, one_row_plan(samples, 64, true), 0);
  EXPECT_EQ(Ints(batch.labels.begin(), batch.labels.begin() + 8), (Ints{101, 102, 103, 200, 201, 202, -100, -100}));
  EXPECT_EQ(batch.targets, 6);
}

TEST(BatchStream, PadToSequenceLen) {
  const std::vector<Sample> samples = {make_sample(1, 4)};
  PackPlan plan = one_row_plan(samples, 100, false);
  plan.options.pad_to_sequence_len = true;
  EXPECT_EQ(make_batch(samples, plan, 0).cu_seqlens, (Ints{0, 4, 128}));
}

TEST(BatchStream, RowsOfAMicroBatchFollowEachOther) {
  const std::vector<Sample> samples = {make_sample(0, 64), make_sample(1, 60)};
  PlanOptions options;
  options.sequence_len = 64;
  options.micro_batch_size = 2;
  const PackPlan plan = make_pack_plan(sample_costs(samples), options);
  const PackedBatch joined = make_batch(samples, plan, 0);
  options.micro_batch_size = 1;
  const PackPlan single = make_pack_plan(sample_costs(samples), options);
  Ints ids, labels;
  for (std::size_t index = 0; index < 2; ++index) {
    const PackedBatch part = make_batch(samples, single, index);
    ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    labels.insert(labels.end(), part.labels.begin(), part.labels.end());
  }
  EXPECT_EQ(joined.ids, ids);
  EXPECT_EQ(joined.labels, labels);
  EXPECT_EQ(joined.real_tokens, 124);
  EXPECT_EQ(joined.targets, 63 + 59);
}

TEST(BatchStream, RandomPlansAgreeWithTheCollatorRuleAndWithThePlan) {
  std::mt19937 generator(5);
  for (int round = 0; round < 30; ++round) {
    std::vector<Sample> samples;
    for (std::uint32_t i = 0; i < 25; ++i) {
      samples.push_back(make_sample(i, 2 + generator() % 90));
      for (auto& flag : samples.back().trained) flag = generator() % 2;
    }
    PlanOptions options;
    options.sequence_len = 200;
    options.compat = round % 2 == 1;
    options.num_epochs = 2;
    const PackPlan plan = make_pack_plan(sample_costs(samples), options);
    std::int64_t targets = 0, tokens = 0;
    for (std::size_t index = 0; index < plan.micro_batches.size(); ++index) {
      const PackedBatch batch = make_batch(samples, plan, index);
      EXPECT_EQ(batch.cu_seqlens, cu_seqlens_of_positions(batch.position_ids));
      EXPECT_EQ(batch.ids.size() % 64, 0u);
      const auto labelled =
          std::count_if(batch.labels.begin(), batch.labels.end(), [](auto label) { return label != kIgnoredLabel; });
      EXPECT_EQ(batch.targets, labelled);
      targets += batch.targets;
      tokens += batch.real_tokens;
    }
    std::int64_t step_targets = 0, step_tokens = 0;
    for (const PlanStep& step : plan.steps) step_targets += step.targets, step_tokens += step.tokens;
    EXPECT_EQ(targets, step_targets);
    EXPECT_EQ(tokens, step_tokens);
  }
}

TEST(BatchStream, EvaluationRowsAreInDataOrderAndCarryRoles) {
  std::vector<Sample> samples = {make_sample(0, 40), make_sample(1, 50), make_sample(2, 30), make_sample(3, 20)};
  samples[0].roles.assign(40, static_cast<std::uint8_t>(TokenRole::kMessage));
  samples[0].roles[39] = static_cast<std::uint8_t>(TokenRole::kEos);
  PlanOptions options;
  options.sequence_len = 64;
  options.micro_batch_size = 4;  // has no effect on evaluation rows
  EXPECT_EQ(make_eval_rows(samples, options), (std::vector<Row>{{0, 3}, {1}, {2}}));
  options.compat = true;
  EXPECT_EQ(make_eval_rows(samples, options), (std::vector<Row>{{0}, {1}, {2, 3}}));
  options.compat = false;
  const auto rows = make_eval_rows(samples, options);
  const PackedBatch batch = make_eval_batch(samples, std::span(rows).first(2), options);
  EXPECT_EQ(batch.cu_seqlens, (Ints{0, 40, 60, 64, 114, 128}));
  ASSERT_EQ(batch.roles.size(), batch.ids.size());
  EXPECT_EQ(batch.roles[0], static_cast<std::uint8_t>(TokenRole::kMessage));
  EXPECT_EQ(batch.roles[38], static_cast<std::uint8_t>(TokenRole::kEos));    // predicts the last id
  EXPECT_EQ(batch.roles[39], static_cast<std::uint8_t>(TokenRole::kOther));  // predicts nothing
  EXPECT_EQ(batch.conversations[41], 3u);
  EXPECT_EQ(batch.targets, 39 + 19 + 49);
}

TEST(BatchStream, APlanOfOtherSamplesIsABug) {
  const std::vector<Sample> samples = {make_sample(0, 4), make_sample(1, 4)};
  const PackPlan plan = one_row_plan(samples, 64, false);
  EXPECT_THROW(make_batch(std::span(samples).first(1), plan, 0), Error);
  std::vector<Sample> changed = samples;
  changed[0].trained[2] = 0;
  EXPECT_THROW(make_batch(changed, plan, 0), Error);
}

}  // namespace
}  // namespace shori
