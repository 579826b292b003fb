// Samplers against worked examples and the edge cases of their definitions.
#include "shori/infer/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "shori/util/error.h"
#include "shori/util/philox.h"
#include "src/infer/candidates.h"
#include "tests/support/error_code.h"

namespace shori {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const std::vector<float> kLogits = {3.0f, 2.5f, 2.0f, 1.0f, 0.0f, -1.0f};
const Ids kContext = {0, 0, 1, 5};

struct Kept {
  Ids ids;
  std::vector<double> probabilities;
};

Kept all_of(Candidates candidates) {
  Kept kept;
  double sum = 0;
  for (const Candidate& candidate : candidates.first(candidates.size())) {
    kept.ids.push_back(candidate.id);
    kept.probabilities.push_back(std::exp(static_cast<double>(candidate.logit)));
    sum += kept.probabilities.back();
  }
  for (double& probability : kept.probabilities) probability /= sum;
  return kept;
}

std::vector<float> penalized(const Penalties& penalties, std::span<const std::int32_t> window) {
  std::vector<float> logits = kLogits;
  penalize(logits, window, penalties);
  return logits;
}

void expect_near(const auto& values, const std::vector<double>& expected, double tolerance = 6e-7) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(static_cast<double>(values[i]), expected[i], tolerance) << i;
}

// First ids of `count` replies. Ids of the context that `logits` does not reach are impossible.
Ids drawn(const SamplerSettings& settings, std::vector<float> logits, int count, std::uint64_t seed = 7) {
  logits.resize(std::max(logits.size(), kLogits.size()), -kInfinity);
  Ids ids;
  for (int reply = 0; reply < count; ++reply)
    ids.push_back(Sampler(settings, seed, static_cast<std::uint32_t>(reply)).next(logits, kContext));
  return ids;
}

TEST(Sampler, MainPresetOfTheCard) {
  const std::vector<float> logits = penalized({1.0f, 0.4f, 0.0f}, kContext);
  expect_near(logits, {2.6, 2.1, 2.0, 1.0, 0.0, -1.4});
  Candidates candidates(logits);
  candidates.keep_min_p(0.07f);
  const Kept kept = all_of(candidates);
  EXPECT_EQ(kept.ids, (Ids{0, 1, 2, 3, 4}));
  expect_near(kept.probabilities, {0.411267, 0.249446, 0.225708, 0.083033, 0.030546});
}

TEST(Sampler, AlternativeOneJudgesMinPBeforeTemperature) {
  const std::vector<float> logits = penalized({1.0f, 0.0f, 0.12f}, kContext);
  expect_near(logits, {2.76, 2.38, 2.0, 1.0, 0.0, -1.12});
  Candidates last(logits);
  last.keep_min_p(0.4f);
  last.apply_temperature(2.45f);
  const Kept kept = all_of(last);
  EXPECT_EQ(kept.ids, (Ids{0, 1, 2}));
  expect_near(kept.probabilities, {0.386156, 0.330676, 0.283167});

  Candidates first(logits);
  first.apply_temperature(2.45f);
  first.keep_min_p(0.4f);
  EXPECT_EQ(all_of(first).ids, (Ids{0, 1, 2, 3}));
  expect_near(all_of(first).probabilities, {0.324974, 0.278284, 0.238302, 0.158440});
}

// The sampler itself, by the ids that it can draw: 3 only where temperature comes first.
TEST(Sampler, OrderFollowsTheSettings) {
  SamplerSettings settings{.temperature = 2.45f, .temperature_last = true, .min_p = 0.4f, .frequency_penalty = 0.12f};
  const Ids last = drawn(settings, kLogits, 300);
  EXPECT_EQ(std::ranges::count(last, 3), 0);
  EXPECT_GT(std::ranges::count(last, 2), 0);
  settings.temperature_last = false;
  const Ids first = drawn(settings, kLogits, 300);
  EXPECT_GT(std::ranges::count(first, 3), 0);
  EXPECT_EQ(std::ranges::count(first, 4), 0);
}

TEST(Sampler, WindowCountsTheLastIds) {
  expect_near(penalized({1.0f, 0.0f, 0.12f}, std::span(kContext).last(2)), {3.0, 2.38, 2.0, 1.0, 0.0, -1.12});
  // A presence penalty of 5 leaves the arg max to the ids outside the window.
  SamplerSettings settings{.temperature = 0.0f, .presence_penalty = 5.0f, .penalty_window = 2};
  EXPECT_EQ(drawn(settings, kLogits, 1), Ids{0});
  settings.penalty_window = 4;
  EXPECT_EQ(drawn(settings, kLogits, 1), Ids{2});
  settings.penalty_window = -1;
  EXPECT_EQ(drawn(settings, kLogits, 1), Ids{2});
  settings.penalty_window = 0;
  EXPECT_EQ(drawn(settings, kLogits, 1), Ids{0});
}

TEST(Sampler, RepetitionDividesWhatIsPositive) {
  expect_near(penalized({1.1f, 0.0f, 0.0f}, kContext), {2.727273, 2.272727, 2.0, 1.0, 0.0, -1.1});
  std::vector<float> zero = {0.0f, 1.0f};
  penalize(zero, Ids{0}, {3.0f, 0.5f, 0.0f});
  EXPECT_EQ(zero[0], -0.5f);
}

TEST(Sampler, NegativePenaltiesRaise) {
  expect_near(penalized({1.0f, -0.5f, -0.25f}, kContext), {4.0, 3.25, 2.0, 1.0, 0.0, -0.25});
}

struct MirostatStep {
  double tau, eta, mu, u;
  std::size_t kept;
  std::int32_t id;
  double surprise, mu_after;
};

TEST(Sampler, MirostatStepByStep) {
  const double start = 2.0;
  const std::vector<MirostatStep> steps = {
      {1.0, 0.1, start, 0.10, 2, 0, 0.683949, 2.031605},      {1.0, 0.1, 2.031605, 0.90, 2, 1, 1.405296, 1.991076},
      {1.0, 0.1, 1.991076, 0.99, 2, 1, 1.405296, 1.950546},   {1.0, 0.1, 1.950546, 0.50, 2, 0, 0.683949, 1.982151},
      {2.9, 0.019, 5.8, 0.10, 5, 0, 1.110719, 5.833996},      {2.9, 0.019, 5.833996, 0.90, 5, 2, 2.553414, 5.840581},
      {2.9, 0.019, 5.840581, 0.99, 5, 4, 5.438804, 5.792344}, {1.0, 0.1, -1.0, 0.50, 1, 0, 0.0, -0.9}};
  for (const MirostatStep& step : steps) {
    Candidates candidates(kLogits);
    Mirostat mirostat(step.tau, step.eta, step.mu);
    const Candidates::Draw draw = mirostat.draw(candidates, step.u);
    EXPECT_EQ(candidates.size(), step.kept);
    EXPECT_EQ(draw.id, step.id);
    EXPECT_NEAR(-std::log2(draw.probability), step.surprise, 1e-6);
    EXPECT_NEAR(mirostat.mu(), step.mu_after, 2e-6);
  }
}

TEST(Sampler, MirostatBeginsAtTwiceTauAndIgnoresTheOthers) {
  // mu 2.0 keeps the surprises 1.12 and 1.84 only; the penalties would have taken these two away.
  SamplerSettings settings{.top_k = 1, .presence_penalty = 50.0f, .mirostat = 2, .mirostat_tau = 1.0f};
  const Ids ids = drawn(settings, kLogits, 200);
  EXPECT_EQ(std::ranges::count(ids, 0) + std::ranges::count(ids, 1), 200);
  EXPECT_GT(std::ranges::count(ids, 1), 0);
}

TEST(Sampler, TemperatureZeroIsTheLowestOfTheLargest) {
  const std::vector<float> ties = {1.0f, 4.0f, 4.0f, 2.0f};
  for (const float temperature : {0.0f, -1.0f}) EXPECT_EQ(drawn({.temperature = temperature}, ties, 20), Ids(20, 1));
  EXPECT_EQ(drawn({.temperature = 0.0f, .temperature_last = true}, ties, 20), Ids(20, 1));
  EXPECT_EQ(drawn({.temperature = 0.0f, .mirostat = 2}, ties, 20), Ids(20, 1));
}

TEST(Sampler, TemperatureThatLeavesTheRangeOfFloats) {
  EXPECT_EQ(drawn({.temperature = 1e-40f}, {2.0f, 5.0f, 5.0f, -3.0f}, 1).size(), 1u);
  EXPECT_EQ(drawn({.temperature = 1e-40f}, {-5.0f, -2.0f}, 20), Ids(20, 1));
}

TEST(Sampler, MinPAtItsLimits) {
  const std::vector<float> logits = {4.0f, 1.0f, 4.0f, 3.9f};
  const auto kept = [&](float m) {
    Candidates candidates(logits);
    candidates.keep_min_p(m);
    return all_of(candidates).ids;
  };
  EXPECT_EQ(kept(1.0f), (Ids{0, 2}));
  EXPECT_EQ(kept(7.0f), (Ids{0, 2}));
  EXPECT_EQ(kept(0.0f), (Ids{0, 2, 3, 1}));
  EXPECT_EQ(kept(-1.0f), (Ids{0, 2, 3, 1}));
}

TEST(Sampler, TopKAndTopP) {
  Candidates by_k(std::vector<float>{1.0f, 3.0f, 3.0f, 3.0f});
  by_k.keep_top_k(2);
  EXPECT_EQ(all_of(by_k).ids, (Ids{1, 2}));
  // 0.5, 0.25, 0.125, 0.125
  const std::vector<float> halves = {std::log(4.0f), std::log(2.0f), 0.0f, 0.0f};
  const auto kept = [&](double p) {
    Candidates candidates(halves);
    candidates.keep_top_p(p);
    return all_of(candidates).ids.size();
  };
  EXPECT_EQ(kept(0.0), 1u);
  EXPECT_EQ(kept(0.49), 1u);
  EXPECT_EQ(kept(0.51), 2u);
  EXPECT_EQ(kept(0.76), 3u);
  EXPECT_EQ(kept(1.0), 4u);
}

TEST(Sampler, EqualLogitsAreDrawnInOrderOfTheirIds) {
  Candidates candidates(std::vector<float>(5, -2.0f));
  for (const double u : {0.0, 0.19, 0.21, 0.5, 0.99})
    EXPECT_EQ(candidates.draw(u).id, static_cast<std::int32_t>(u * 5)) << u;
}

TEST(Sampler, InfinitelySmallLogitsAreNeverDrawn) {
  const std::vector<float> logits = {-kInfinity, 0.0f, -kInfinity, 0.0f};
  for (const std::int32_t id : drawn({.presence_penalty = -3.0f}, logits, 50)) EXPECT_TRUE(id == 1 || id == 3);
  EXPECT_EQ(drawn({}, {-kInfinity, 7.0f}, 5), Ids(5, 1));
  EXPECT_EQ(drawn({}, {-3.0f}, 5), Ids(5, 0));
}

TEST(Sampler, LogitsWithoutDistributionAreRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, kInfinity}) {
    EXPECT_EQ(code_of([&] { drawn({}, {1.0f, bad}, 1); }), "E0606");
    EXPECT_EQ(code_of([&] { drawn({.mirostat = 2}, {bad, 1.0f}, 1); }), "E0606");
    EXPECT_EQ(code_of([&] { drawn({.temperature = 0.0f, .repetition_penalty = 1.3f}, {bad, 1.0f}, 1); }), "E0606");
  }
  EXPECT_EQ(code_of([&] { drawn({}, {-kInfinity, -kInfinity}, 1); }), "E0606");
}

TEST(Sampler, DrawIsAFunctionOfSeedReplyAndToken) {
  const PhiloxWords words = philox4x32(0x1234567890abcdefull, {{5, 3, 0, 0x53414D50}});
  const double expected =
      static_cast<double>((std::uint64_t{words.word[0]} << 32 | words.word[1]) >> 11) / 9007199254740992.0;
  EXPECT_EQ(uniform(0x1234567890abcdefull, 3, 5), expected);
  const std::vector<float> flat(1000, 0.0f);
  Sampler sampler({}, 9, 4);
  for (std::uint32_t token = 0; token < 20; ++token)
    EXPECT_EQ(sampler.next(flat, {}), static_cast<std::int32_t>(uniform(9, 4, token) * 1000.0));
  EXPECT_NE(drawn({}, flat, 20, 1), drawn({}, flat, 20, 2));
}

// Sorting only what is asked for gives the order that sorting everything gives.
TEST(Sampler, LargeVocabularyIsInOrder) {
  std::vector<float> logits(32000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 7919) % 1000) / 100.0f;
  Candidates candidates(logits);
  candidates.first(3);
  candidates.first(100);
  const auto ordered = candidates.first(logits.size());
  for (std::size_t i = 1; i < ordered.size(); ++i) {
    ASSERT_TRUE(ordered[i - 1].logit > ordered[i].logit ||
                (ordered[i - 1].logit == ordered[i].logit && ordered[i - 1].id < ordered[i].id));
  }
}

TEST(Sampler, SettingsThatCannotBeUsedAreNamed) {
  const auto problem = [](SamplerSettings settings) -> std::string {
    const auto found = find_setting_problem(settings);
    return found ? found->name : "";
  };
  EXPECT_EQ(problem({}), "");
  EXPECT_EQ(problem({.temperature = -1.0f, .min_p = 2.0f, .presence_penalty = -2.0f, .penalty_window = -1}), "");
  EXPECT_EQ(problem({.temperature = kInfinity}), "temperature");
  EXPECT_EQ(problem({.top_p = 1.5f}), "top_p");
  EXPECT_EQ(problem({.top_p = -0.1f}), "top_p");
  EXPECT_EQ(problem({.min_p = std::nanf("")}), "min_p");
  for (const float bad : {0.0f, -1.0f, kInfinity})
    EXPECT_EQ(problem({.repetition_penalty = bad}), "repetition_penalty");
  EXPECT_EQ(problem({.presence_penalty = kInfinity}), "presence_penalty");
  EXPECT_EQ(problem({.frequency_penalty = -kInfinity}), "frequency_penalty");
  EXPECT_EQ(problem({.penalty_window = -2}), "penalty_window");
  EXPECT_EQ(problem({.mirostat = 1}), "mirostat");
  EXPECT_EQ(problem({.mirostat_tau = kInfinity}), "mirostat_tau");
  EXPECT_EQ(problem({.mirostat_eta = kInfinity}), "mirostat_eta");
}

}  // namespace
}  // namespace shori
