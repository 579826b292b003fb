#include "src/train/stage/pins.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_stage.h"

namespace shori {
namespace {

TEST(Pins, EpochEndsAndTheLastStep) {
  TinyStage tiny(4);
  EXPECT_EQ(epoch_ends(tiny->plan), (std::vector<std::uint64_t>{4, 8}));
  tiny->config.max_steps = 6;
  tiny.plan();
  EXPECT_EQ(epoch_ends(tiny->plan), (std::vector<std::uint64_t>{4, 6}));
}

TEST(Pins, AreDueAtEpochEndsAndAtTheBestEvaluation) {
  TinyStage tiny(4);
  TrainingState state = initial_state(*tiny);
  const auto is_due = [&](std::uint64_t step) {
    state.step = step;
    return is_pin_due(*tiny, state);
  };
  EXPECT_FALSE(is_due(3));
  EXPECT_TRUE(is_due(4));
  EXPECT_TRUE(is_due(8));
  state.guards.best_step = 3;
  EXPECT_TRUE(is_due(3));
  EXPECT_FALSE(is_due(5));
}

TEST(Pins, ReasonsKnowWhichStepsAreEvaluated) {
  TinyStage tiny(4);
  tiny->config.eval_steps = 3;
  tiny->data.held_out = {{"val", {tiny->data.train[0]}}};
  const PinReasons reasons = pin_reasons(*tiny, initial_state(*tiny));
  EXPECT_TRUE(reasons.is_evaluated(3));
  EXPECT_FALSE(reasons.is_evaluated(4));
  EXPECT_TRUE(reasons.is_evaluated(8)) << "the last step";
}

}  // namespace
}  // namespace shori
