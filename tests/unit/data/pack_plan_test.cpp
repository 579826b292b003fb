#include "shori/data/pack_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "shori/util/error.h"
#include "src/data/packing/shuffle.h"
#include "tests/support/pack_plan_reader.h"

namespace shori {
namespace {

// Samples that all fill a row, so that rows = samples.
std::vector<SampleCost> full_rows(std::size_t count) {
  return std::vector<SampleCost>(count, SampleCost{64, 63, true});
}

PlanOptions options_for_full_rows(std::int64_t accumulation, std::int64_t epochs, bool compat) {
  PlanOptions options;
  options.sequence_len = 64;
  options.gradient_accumulation_steps = accumulation;
  options.num_epochs = epochs;
  options.compat = compat;
  return options;
}

std::vector<std::size_t> step_sizes(const PackPlan& plan) {
  std::vector<std::size_t> sizes;
  for (const PlanStep& step : plan.steps) sizes.push_back(step.micro_batch_count);
  return sizes;
}

std::vector<SampleCost> random_costs(std::size_t count, std::int64_t longest, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<SampleCost> costs;
  for (std::size_t i = 0; i < count; ++i) {
    const auto length = static_cast<std::uint32_t>(1 + generator() % static_cast<std::uint64_t>(longest));
    costs.push_back({length, static_cast<std::uint32_t>(generator() % length), generator() % 2 == 0});
  }
  return costs;
}

TEST(PackPlan, LeftoverMicroBatchesAreASmallerStep) {
  const PackPlan plan = make_pack_plan(full_rows(3), options_for_full_rows(2, 3, false));
  EXPECT_EQ(step_sizes(plan), (std::vector<std::size_t>{2, 1, 2, 1, 2, 1}));
  EXPECT_EQ(plan.unused_micro_batches(), 0u);
  EXPECT_EQ(plan.steps[0].targets, 126);
  EXPECT_EQ(plan.steps[1].targets, 63);
  EXPECT_EQ(plan.steps[0].tokens, 128);
  EXPECT_EQ(plan.steps[0].samples, 2);
}

// Counted by hand from the rule of transformers' Trainer of early 2024: the counter runs across epochs.
TEST(PackPlan, CompatCarriesLeftoversIntoTheNextEpoch) {
  const PackPlan two = make_pack_plan(full_rows(3), options_for_full_rows(2, 3, true));
  EXPECT_EQ(step_sizes(two), (std::vector<std::size_t>{2, 2, 2, 2}));
  EXPECT_EQ(two.unused_micro_batches(), 1u);
  const PackPlan four = make_pack_plan(full_rows(3), options_for_full_rows(4, 3, true));
  EXPECT_EQ(step_sizes(four), (std::vector<std::size_t>{3, 1, 2, 2, 1}));
  EXPECT_EQ(four.unused_micro_batches(), 0u);
}

TEST(PackPlan, EpochsUseSeedPlusEpoch) {
  const PackPlan plan = make_pack_plan(full_rows(20), options_for_full_rows(1, 2, true));
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    const auto order = random_permutation(20, 42 + epoch);
    for (std::size_t i = 0; i < 20; ++i) EXPECT_EQ(plan.row(plan.epochs[epoch].first_row + i)[0], order[i]);
  }
}

TEST(PackPlan, MaxStepsStopsEarlyAndNeverAdds) {
  PlanOptions options = options_for_full_rows(2, 3, false);
  options.max_steps = 3;
  const PackPlan plan = make_pack_plan(full_rows(3), options);
  EXPECT_EQ(step_sizes(plan), (std::vector<std::size_t>{2, 1, 2}));
  EXPECT_EQ(plan.epochs.size(), 2u);
  EXPECT_EQ(plan.unused_micro_batches(), 1u);
  options.max_steps = 100;
  EXPECT_EQ(make_pack_plan(full_rows(3), options).steps.size(), 6u);
  options.max_steps = 0;
  EXPECT_TRUE(make_pack_plan(full_rows(3), options).steps.empty());
}

TEST(PackPlan, EpochsAreRepeatedUntilMaxSteps) {
  PlanOptions options = options_for_full_rows(2, 1, false);
  options.max_steps = 5;
  options.repeat_epochs = true;
  const PackPlan plan = make_pack_plan(full_rows(3), options);
  EXPECT_EQ(step_sizes(plan), (std::vector<std::size_t>{2, 1, 2, 1, 2}));
  EXPECT_EQ(plan.options.num_epochs, 3);
  PlanOptions named = options_for_full_rows(2, 3, false);
  named.max_steps = 5;
  EXPECT_EQ(serialize_pack_plan(plan), serialize_pack_plan(make_pack_plan(full_rows(3), named)));
  options.max_steps = 1;  // as a run was planned whose single epoch was long enough
  EXPECT_EQ(make_pack_plan(full_rows(3), options).options.num_epochs, 1);
}

// Derived from Axolotl's formula at 2 epochs, accumulation 2.
TEST(PackPlan, AxolotlStepEstimate) {
  EXPECT_EQ(estimate_axolotl_steps(4799646, 309, 16384, 2, 2), 304);
  EXPECT_EQ(estimate_axolotl_steps(1200000, 80, 16384, 2, 2), 76);
  EXPECT_EQ(estimate_axolotl_steps(300000, 20, 16384, 2, 2), 18);
  EXPECT_EQ(estimate_axolotl_steps(150000, 11, 16384, 2, 2), 8);
  EXPECT_EQ(estimate_axolotl_steps(100, 1, 16384, 2, 3), 3);
}

TEST(PackPlan, AxolotlStepEstimateCutsTheLastEpochShort) {
  PlanOptions options = options_for_full_rows(2, 2, true);
  // 20 full rows: measured fill 1, floor(0.99 * 20) - 1 = 18, 9 updates an epoch, 18 in total; 20 without the estimate.
  EXPECT_EQ(make_pack_plan(full_rows(20), options).steps.size(), 20u);
  options.axolotl_step_estimate = true;
  const PackPlan plan = make_pack_plan(full_rows(20), options);
  EXPECT_EQ(plan.steps.size(), 18u);
  EXPECT_EQ(plan.unused_micro_batches(), 4u);
}

TEST(PackPlan, MicroBatchesJoinRows) {
  PlanOptions options = options_for_full_rows(1, 1, false);
  options.micro_batch_size = 2;
  const PackPlan plan = make_pack_plan(full_rows(5), options);
  EXPECT_EQ(plan.row_count(), 5u);
  ASSERT_EQ(plan.micro_batches.size(), 3u);
  EXPECT_EQ(plan.micro_batches[2].row_count, 1u);
  options.compat = true;  // Axolotl packs micro_batch_size * sequence_len ids into one row
  const PackPlan compat = make_pack_plan(full_rows(5), options);
  EXPECT_EQ(compat.row_count(), 3u);
  EXPECT_EQ(compat.micro_batches.size(), 3u);
  EXPECT_EQ(compat.longest_micro_batch(), 128);
}

// Lengths 5 4 3 into rows of 9: [5 4] [3]. Default 4 + 3 + 2 targets; compat keeps the boundary target: 8 + 2.
TEST(PackPlan, BoundaryTargets) {
  PlanOptions options;
  options.sequence_len = 9;
  const std::vector<SampleCost> samples = {{5, 4, true}, {4, 3, true}, {3, 2, true}};
  const PackPlan plan = make_pack_plan(samples, options);
  ASSERT_EQ(plan.row_count(), 2u);
  EXPECT_EQ(plan.row_targets(0) + plan.row_targets(1), 9);
  // A seed whose order lets next-fit make the same rows.
  options.compat = true;
  for (options.seed = 0;; ++options.seed) {
    if (random_permutation(3, options.seed) == std::vector<std::uint32_t>{0, 1, 2}) break;
  }
  const PackPlan compat = make_pack_plan(samples, options);
  ASSERT_EQ(compat.row_count(), 2u);
  EXPECT_EQ(compat.row_targets(0), 8);
  EXPECT_EQ(compat.row_targets(1), 2);
}

TEST(PackPlan, CompatDoesNotCountABoundaryWithoutLabel) {
  PlanOptions options;
  options.sequence_len = 16;
  options.compat = true;
  const PackPlan plan = make_pack_plan({{5, 4, false}, {4, 3, false}}, options);
  EXPECT_EQ(plan.row_targets(0), 7);
}

TEST(PackPlan, EpochFractionAndEpochEnds) {
  const PackPlan plan = make_pack_plan(full_rows(3), options_for_full_rows(2, 2, false));
  EXPECT_EQ(plan.epoch_after(0), 0);
  EXPECT_EQ(plan.epoch_after(1), 2.0 / 3.0);
  EXPECT_EQ(plan.epoch_after(2), 1);
  EXPECT_EQ(plan.epoch_after(3), 1 + 2.0 / 3.0);
  EXPECT_EQ(plan.epoch_after(4), 2);
  EXPECT_EQ(plan.last_step_of_epoch(0), 2u);
  EXPECT_EQ(plan.last_step_of_epoch(1), 4u);
  EXPECT_EQ(plan.last_step_of_epoch(2), std::nullopt);
  const PackPlan compat = make_pack_plan(full_rows(3), options_for_full_rows(2, 3, true));
  EXPECT_EQ(compat.last_step_of_epoch(0), 2u);  // packs 3 and 4 of the run are one update
  EXPECT_EQ(compat.last_step_of_epoch(1), 3u);
  EXPECT_EQ(compat.last_step_of_epoch(2), std::nullopt);
  EXPECT_EQ(compat.epoch_after(2), 1 + 1.0 / 3.0);
}

// Properties on random data: each sample once an epoch, steps cover the micro-batches without gap, sums agree.
TEST(PackPlan, Properties) {
  for (std::uint32_t seed = 0; seed < 40; ++seed) {
    PlanOptions options;
    options.sequence_len = 200;
    options.sample_packing = seed % 5 != 0;
    options.micro_batch_size = 1 + seed % 3;
    options.gradient_accumulation_steps = 1 + seed % 4;
    options.num_epochs = 3;
    options.compat = seed % 2 == 0;
    options.seed = seed;
    const auto samples = random_costs(1 + 11 * seed, 200, seed);
    const PackPlan plan = make_pack_plan(samples, options);
    ASSERT_EQ(plan.epochs.size(), 3u);
    for (const PlanEpoch& epoch : plan.epochs) {
      std::vector<int> seen(samples.size());
      for (std::size_t row = epoch.first_row; row < epoch.first_row + epoch.row_count; ++row) {
        EXPECT_LE(plan.row_tokens(row), options.row_capacity());
        for (const std::uint32_t sample : plan.row(row)) ++seen[sample];
      }
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(samples.size()));
      if (!options.compat) {
        EXPECT_EQ(epoch.row_count, plan.epochs[0].row_count) << "default packing depends on lengths only";
      }
    }
    std::size_t next = 0;
    std::int64_t tokens = 0;
    for (const PlanStep& step : plan.steps) {
      EXPECT_EQ(step.first_micro_batch, next);
      next += step.micro_batch_count;
      tokens += step.tokens;
    }
    std::int64_t row_tokens = 0;
    for (std::size_t row = 0; row < plan.row_count(); ++row) row_tokens += plan.row_tokens(row);
    if (plan.unused_micro_batches() == 0) {
      EXPECT_EQ(tokens, row_tokens);
    }
    if (!options.compat) {
      const auto micro_batches = static_cast<std::int64_t>(plan.epochs[0].micro_batch_count);
      const std::int64_t accumulation = options.gradient_accumulation_steps;
      EXPECT_EQ(static_cast<std::int64_t>(plan.steps.size()), 3 * ((micro_batches + accumulation - 1) / accumulation));
    }
    EXPECT_EQ(serialize_pack_plan(plan), serialize_pack_plan(make_pack_plan(samples, options)));
  }
}

TEST(PackPlan, BadInputsAreBugs) {
  PlanOptions options;
  options.sequence_len = 10;
  EXPECT_THROW(make_pack_plan({}, options), Error);
  EXPECT_THROW(make_pack_plan({{11, 10, true}}, options), Error);
  EXPECT_THROW(make_pack_plan({{5, 5, true}}, options), Error);
}

PackPlan sample_plan() {
  PlanOptions options;
  options.sequence_len = 100;
  options.gradient_accumulation_steps = 2;
  options.num_epochs = 2;
  options.max_steps = 1000;
  return make_pack_plan(random_costs(30, 100, 1), options);
}

TEST(PackPlanFile, HoldsTheWholePlan) {
  const PackPlan plan = sample_plan();
  const test::PackPlanFile file = test::read_pack_plan(serialize_pack_plan(plan));
  EXPECT_EQ(file.version, 1u);
  EXPECT_EQ(file.flags, 1u);
  EXPECT_EQ(file.seed, 42u);
  EXPECT_EQ(file.sequence_len, 100u);
  EXPECT_EQ(file.micro_batch_size, 1u);
  EXPECT_EQ(file.accumulation, 2u);
  EXPECT_EQ(file.num_epochs, 2u);
  EXPECT_EQ(file.max_steps, 1000u);
  ASSERT_EQ(file.samples.size(), plan.samples.size());
  for (std::size_t i = 0; i < plan.samples.size(); ++i) {
    EXPECT_EQ(file.samples[i].length, plan.samples[i].length);
    EXPECT_EQ(file.samples[i].inner_targets, plan.samples[i].inner_targets);
    EXPECT_EQ(file.samples[i].first_label, plan.samples[i].first_label ? 1u : 0u);
  }
  ASSERT_EQ(file.epochs.size(), plan.epochs.size());
  for (std::size_t i = 0; i < plan.epochs.size(); ++i) {
    EXPECT_EQ(file.epochs[i].first_row, plan.epochs[i].first_row);
    EXPECT_EQ(file.epochs[i].first_micro_batch, plan.epochs[i].first_micro_batch);
  }
  ASSERT_EQ(file.row_starts.size(), plan.row_count());
  for (std::size_t row = 0; row < plan.row_count(); ++row) EXPECT_EQ(file.row_starts[row], plan.row_starts[row]);
  EXPECT_EQ(file.entries, plan.entries);
  ASSERT_EQ(file.micro_batch_rows.size(), plan.micro_batches.size());
  for (std::size_t i = 0; i < plan.micro_batches.size(); ++i)
    EXPECT_EQ(file.micro_batch_rows[i], plan.micro_batches[i].first_row);
  ASSERT_EQ(file.steps.size(), plan.steps.size());
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.steps[i];
    EXPECT_EQ(file.steps[i].first_micro_batch, step.first_micro_batch);
    EXPECT_EQ(file.steps[i].end_micro_batch, step.first_micro_batch + step.micro_batch_count);
    EXPECT_EQ(static_cast<std::int64_t>(file.steps[i].targets), step.targets);
    EXPECT_EQ(static_cast<std::int64_t>(file.steps[i].tokens), step.tokens);
    EXPECT_EQ(static_cast<std::int64_t>(file.steps[i].samples), step.samples);
  }
}

TEST(PackPlanFile, GoldenBytes) {
  PlanOptions options;
  options.sequence_len = 64;
  const std::string bytes = serialize_pack_plan(make_pack_plan({{3, 2, true}}, options));
  std::string expected = "SHORIPLN";
  const auto number = [&](std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) expected.push_back(static_cast<char>(value >> (8 * i)));
  };
  number(1, 4), number(1, 4);  // version, flags
  number(42, 8), number(64, 8), number(1, 8), number(1, 8), number(1, 8), number(~std::uint64_t{0}, 8);
  for (int i = 0; i < 6; ++i) number(1, 8);                              // one of everything
  number(3, 4), number(2, 4), number(1, 4);                              // the sample
  number(0, 8), number(0, 8);                                            // the epoch
  number(0, 8), number(0, 4);                                            // the row and its entry
  number(0, 8);                                                          // the micro-batch
  number(0, 8), number(1, 8), number(2, 8), number(3, 8), number(1, 8);  // the step
  EXPECT_EQ(bytes, expected);
}

}  // namespace
}  // namespace shori
