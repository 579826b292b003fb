#include "src/train/plan/step_flop.h"

#include <gtest/gtest.h>

namespace shori {
namespace {

const MistralConfig kMistral7B{.vocab_size = 32000,
                               .hidden_size = 4096,
                               .intermediate_size = 14336,
                               .layers = 32,
                               .heads = 32,
                               .kv_heads = 8,
                               .head_dim = 128};

// 10^12 operations of one step over these samples; `whole` layers are kept, `recomputed` ones are not kept at all, of the
// others the attention.
double tera_flop(const std::vector<SampleCost>& samples, std::size_t whole, std::size_t recomputed = 0,
                 std::int64_t window = 0) {
  PlanOptions options;
  options.sequence_len = 16384;
  const PackPlan plan = make_pack_plan(samples, options);
  EXPECT_EQ(plan.steps.size(), 1u);
  MistralConfig model = kMistral7B;
  model.sliding_window = window;
  CheckpointingPolicy policy = CheckpointingPolicy::uniform(32, Recompute::kMlp);
  for (std::size_t i = 0; i < whole; ++i) policy.layers[31 - i] = Recompute::kNone;
  for (std::size_t i = 0; i < recomputed; ++i) policy.layers[i] = Recompute::kAll;
  return step_flop(model, {.rank = 20, .alpha = 16}, policy, plan, plan.steps.front()) / 1e12;
}

const SampleCost kLong{16384, 16383, false}, kShort{2048, 2047, false};

// The sums that tests/gpu/performance_model.py prints for a 3090. It counts the columns that kernels pad.
TEST(StepFlop, AgreesWithThePerformanceModel) {
  EXPECT_NEAR(tera_flop({kLong}, 3), 855.1, 0.005 * 855.1);
  EXPECT_NEAR(tera_flop(std::vector(8, kShort), 3), 639.6, 0.005 * 639.6);
}

TEST(StepFlop, CountsWhatIsRecomputed) {
  const double kept = tera_flop({kLong}, 32);
  EXPECT_NEAR(tera_flop({kLong}, 0) - kept, 32 * 2 * 16384.0 * 4096 * (4096 + 2048 + 2 * 14336) / 1e12, 1e-6);
  const double forward =
      4 * 16384.0 * 16384 / 2 * 4096;  // of the attention, which is recomputed with the output product
  EXPECT_NEAR(tera_flop({kLong}, 0, 32) - tera_flop({kLong}, 0), 32 * (2 * 16384.0 * 4096 * 4096 + forward) / 1e12,
              1e-6);
}

TEST(StepFlop, AWindowLimitsThePairs) {
  const double pairs = 16384.0 * 16384 / 2 - (4096 * 16384.0 - 4096 * 4096.0 / 2);
  EXPECT_NEAR(tera_flop({kLong}, 32) - tera_flop({kLong}, 32, 0, 4096), 3.5 * 32 * 4 * pairs * 4096 / 1e12, 1e-6);
  EXPECT_EQ(tera_flop(std::vector(8, kShort), 32), tera_flop(std::vector(8, kShort), 32, 0, 4096));
}

TEST(StepFlop, KnowsThePeakOfListedCardsOnly) {
  EXPECT_EQ(peak_flops("NVIDIA GeForce RTX 3090"), 71e12);
  EXPECT_EQ(peak_flops("NVIDIA H200"), 989.4e12);
  EXPECT_EQ(peak_flops("NVIDIA H200 MIG 1g.18gb"), std::nullopt);
  EXPECT_EQ(peak_flops("emulated device"), std::nullopt);
}

}  // namespace
}  // namespace shori
