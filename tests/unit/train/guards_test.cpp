#include "src/train/step/guards.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "shori/util/error.h"

namespace shori {
namespace {

Error error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return Error(Diagnostic("E0001", "no error was thrown"));
}

TEST(SpikeAverage, ReportsOnlyWhatIsFarOutsideAfterItsWarmUp) {
  SpikeAverage average;
  for (std::uint64_t i = 0; i < 40; ++i) EXPECT_FALSE(average.add(2.0 + 0.01 * static_cast<double>(i % 3), i)) << i;
  SpikeAverage other = average;
  EXPECT_FALSE(other.add(2.03, 40));
  EXPECT_TRUE(average.add(4.0, 40));
}

TEST(SpikeAverage, FollowsTheExponentialRule) {
  SpikeAverage average;
  average.add(1.0, 0);
  average.add(2.0, 1);
  EXPECT_DOUBLE_EQ(average.mean, 1.0 + 0.02 * 1.0);
  EXPECT_NEAR(average.variance, 0.98 * 0.02, 1e-15);
}

TEST(Guards, WatchdogCountsStepsInARow) {
  Guards guards({4.0, 3});
  for (int round = 0; round < 3; ++round) {
    guards.check_step(1, 5.0, 1.0, 1e-5, 1e-3, "");
    guards.check_step(2, 5.0, 1.0, 1e-5, 1e-3, "");
    guards.check_step(3, 3.9, 1.0, 1e-5, 1e-3, "");
  }
  guards.check_step(4, 5.0, 1.0, 1e-5, 1e-3, "");
  guards.check_step(5, 5.0, 1.0, 1e-5, 1e-3, "");
  const Error error = error_of([&] { guards.check_step(6, 10.645007107708906, 1.0, 1e-5, 1e-3, ""); });
  EXPECT_EQ(error.code(), "E0602");
  EXPECT_EQ(error.exit_code(), 6);
  EXPECT_EQ(error.diagnostics().front().notes, std::vector<std::string>{"loss 10.6450"});
}

TEST(Guards, UpdateFarAboveTheRateStops) {
  Guards guards;
  guards.check_step(1, 2.0, 1.0, 900 * 1e-4, 1e-4, "x");
  const Error error =
      error_of([&] { guards.check_step(2, 2.0, 1.0, 1240 * 1e-4, 1e-4, "layers.0.q_proj.lora_A, element 3"); });
  EXPECT_EQ(error.code(), "E0604");
  EXPECT_NE(error.diagnostics().front().message.find("1240"), std::string::npos);
  EXPECT_EQ(error.diagnostics().front().notes.front(), "layers.0.q_proj.lora_A, element 3");
}

TEST(Guards, StateComesBackExactly) {
  Guards guards({4.0, 3});
  for (std::uint64_t step = 1; step < 30; ++step)
    guards.check_step(step, 2.0 + 1.0 / static_cast<double>(step), 0.3, 1e-5, 1e-3, "");
  guards.check_step(30, 5.0, 1.0, 1e-5, 1e-3, "");
  guards.best_eval = 1.25;
  guards.best_step = 7;
  guards.evaluated_step = 28;
  JsonProblem problem;
  const auto json = parse_json(canonical_json(guards.state()), {}, problem);
  ASSERT_TRUE(json) << problem.message;
  Guards other({4.0, 3});
  other.restore(*json);
  EXPECT_EQ(canonical_json(other.state()), canonical_json(guards.state()));
  other.check_step(31, 5.0, 1.0, 1e-5, 1e-3, "");
  EXPECT_EQ(error_of([&] { other.check_step(32, 5.0, 1.0, 1e-5, 1e-3, ""); }).code(), "E0602");
}

TEST(Guards, LearningRateZeroMovesNothing) {
  Guards guards;
  guards.check_step(1, 2.0, 1.0, 0.0, 0.0, "");
  EXPECT_EQ(guards.moving_steps, 0u);
  guards.check_step(2, 2.0, 1.0, 1e-5, 1e-4, "");
  EXPECT_EQ(guards.moving_steps, 1u);
}

struct DeadAdapter : testing::Test {
  std::vector<float> a_start = {1.0f, -0.5f, 0.25f}, b_start = {0.0f, 0.0f};
  std::vector<float> decay = {0.99f, 0.98f};
  std::vector<float> decayed(std::vector<float> values) const {
    for (float& value : values)
      for (const float factor : decay) value *= factor;
    return values;
  }
  std::vector<FactorState> factors(const std::vector<float>& a, const std::vector<float>& b) const {
    return {{"q_proj.lora_A", false, a_start, a}, {"q_proj.lora_B", true, b_start, b}};
  }
};

TEST_F(DeadAdapter, LearningOnePasses) {
  std::vector<float> a = decayed(a_start), b = {0.0f, 1e-6f};
  a[2] += 1e-4f;
  EXPECT_NO_THROW(check_adapter_alive(factors(a, b), decay, true));
}

TEST_F(DeadAdapter, BOfZerosAndAThatOnlyDecayedAreNamed) {
  const std::vector<float> a = decayed(a_start), b = b_start;
  const Error error = error_of([&] { check_adapter_alive(factors(a, b), decay, true); });
  EXPECT_EQ(error.code(), "E0603");
  EXPECT_EQ(error.diagnostics().front().notes, (std::vector<std::string>{"q_proj.lora_A", "q_proj.lora_B"}));
}

TEST_F(DeadAdapter, UnderInitFromBMustHaveMoved) {
  b_start = {0.5f, 0.25f};
  std::vector<float> a = decayed(a_start);
  a[0] += 1e-3f;
  const std::vector<float> b = decayed(b_start);
  EXPECT_EQ(error_of([&] { check_adapter_alive(factors(a, b), decay, false); }).diagnostics().front().notes,
            (std::vector<std::string>{"q_proj.lora_B"}));
}

}  // namespace
}  // namespace shori
