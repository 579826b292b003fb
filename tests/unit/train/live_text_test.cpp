#include "src/train/screen/live_text.h"

#include <gtest/gtest.h>

#include <cmath>

#include "shori/util/utf8.h"
#include "src/train/report/loss_average.h"

namespace shori {
namespace {

LiveState running() {
  LiveState state;
  state.stage = "high";
  state.step = 7;
  state.total = 40;
  state.moved = 0.5;
  state.seconds_left = 3725;
  state.recipe_seconds_left = 7325;
  state.losses = {3, 2.5, 2, 1.5, 1};
  state.average_loss = 1.98;
  state.grad_norm = 0.2691;
  state.learning_rate = 3.75e-5;
  state.tokens_per_second = 3197.4;
  state.memory_bytes = 232 << 20;
  state.saved = true;
  return state;
}

TEST(LiveText, EverythingFitsAWideTerminal) {
  EXPECT_EQ(live_text(running(), 200, true),
            "high step 7/40  ██░░░░░░░░░░ 18%  left 1 h 02 min  (recipe 2 h 02 min)  loss 1.0000  mean 1.9800  █▇▅▃▁  "
            "grad 0.269  lr 3.75e-05  3197 tok/s  232.0 MiB  saved");
  EXPECT_EQ(live_text(running(), 200, false),
            "high step 7/40  [##..........] 18%  left 1 h 02 min  (recipe 2 h 02 min)  loss 1.0000  mean 1.9800  "
            "grad 0.269  lr 3.75e-05  3197 tok/s  232.0 MiB  saved");
}

TEST(LiveText, TheShareOfThePeakIsShownWhereItIsKnown) {
  LiveState state = running();
  state.share_of_peak = 0.384;
  EXPECT_NE(live_text(state, 200, false).find("3197 tok/s  38% of peak  232.0 MiB"), std::string::npos);
  EXPECT_EQ(live_text(running(), 200, false).find("peak"), std::string::npos);
}

TEST(LiveText, ANarrowTerminalKeepsStepTimeAndLoss) {
  EXPECT_EQ(live_text(running(), 79, true),
            "high step 7/40  ██░░░░░░░░░░ 18%  left 1 h 02 min  loss 1.0000  3197 tok/s");
  EXPECT_EQ(live_text(running(), 50, true), "high step 7/40  left 1 h 02 min  loss 1.0000");
  EXPECT_EQ(live_text(running(), 20, true), "high step 7/40");
  for (std::size_t columns = 14; columns < 200; ++columns) {
    for (const bool unicode : {true, false})
      EXPECT_LE(count_code_points(live_text(running(), columns, unicode)), columns);
  }
}

TEST(LiveText, BeforeTheFirstStepNothingIsSaidOfIt) {
  LiveState state;
  state.stage = "low";
  state.total = 3;
  EXPECT_EQ(live_text(state, 100, false), "low step 0/3  [............] 0%");
  state.moved = 0.75;
  state.seconds_left = 45;
  EXPECT_EQ(live_text(state, 100, false), "low step 0/3  [###.........] 25%  left 45 s");
}

TEST(LiveText, TheBarEndsFull) {
  LiveState state;
  state.stage = "low";
  state.step = state.total = 3;
  EXPECT_EQ(live_text(state, 100, false), "low step 3/3  [############] 100%");
}

TEST(LiveText, ALevelLossIsALevelLine) {
  LiveState state = running();
  state.losses = {2, 2, 2};
  EXPECT_NE(live_text(state, 300, true).find("▅▅▅"), std::string::npos);
}

// Of a long run the line has twelve blocks, each the mean of its steps.
TEST(LiveText, ManyLossesAreThinned) {
  LiveState state = running();
  state.losses.clear();
  for (int i = 0; i < 1200; ++i) state.losses.push_back(1200.0 - i);
  EXPECT_NE(live_text(state, 300, true).find("██▇▆▆▅▄▃▃▂▁▁"), std::string::npos) << live_text(state, 300, true);
}

// The sums that the report's curve has: sum of 0.98^k x / sum of 0.98^k.
TEST(LiveText, AverageIsCorrectedForItsStart) {
  LossAverage average;
  EXPECT_DOUBLE_EQ(average.add(5), 5);
  EXPECT_NEAR(average.add(3), (5 * 0.98 + 3) / 1.98, 1e-12);
  EXPECT_NEAR(average.add(1), (5 * 0.9604 + 3 * 0.98 + 1) / 2.9404, 1e-12);
}

}  // namespace
}  // namespace shori
