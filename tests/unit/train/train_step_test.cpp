// One optimizer step: loss weighting, accumulation, clipping, refusal of numbers that are not finite.
#include "src/train/step/train_step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "shori/util/error.h"
#include "shori/util/ignored_label.h"
#include "shori/util/signals.h"
#include "tests/support/infinite_gradient.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

// Gradients and update; no update of what is not finite or was stopped.
std::optional<StepResult> train_step(Mistral& model, LoraAdapter& adapter, AdamW8bit& optimizer,
                                     std::span<const PackedBatch> batches, std::uint64_t number, double learning_rate,
                                     const StepSettings& settings) {
  auto result = compute_gradients(model, adapter, batches, number, settings);
  if (result && result->finite) apply_gradients(model, optimizer, learning_rate, *result);
  return result;
}

struct Trainer {
  explicit Trainer(DType activation = DType::kF32, AdamOptions options = {.weight_decay = 0.05})
      : adapter(tiny_config(), {.rank = 20, .alpha = 16}, activation),
        model(tiny_weights(tiny_config(), activation), &adapter),
        optimizer(adapter, options) {
    randomize(adapter, model.ops());
  }

  StepResult step(std::vector<PackedBatch> batches, std::uint64_t number, const StepSettings& settings) {
    const auto result = train_step(model, adapter, optimizer, batches, number, 1e-3, settings);
    EXPECT_TRUE(result);
    return *result;
  }
  std::vector<float> values() const {
    std::vector<float> all;
    for (const LoraFactor& factor : adapter.factors())
      all.insert(all.end(), factor.values().begin(), factor.values().end());
    return all;
  }
  double gradient_distance(const Trainer& other) const {
    double difference = 0, total = 0;
    for (std::size_t i = 0; i < adapter.factors().size(); ++i) {
      const auto mine = adapter.factors()[i].gradients(), theirs = other.adapter.factors()[i].gradients();
      for (std::size_t j = 0; j < mine.size(); ++j) {
        difference += (mine[j] - theirs[j]) * (mine[j] - theirs[j]);
        total += theirs[j] * theirs[j];
      }
    }
    return std::sqrt(difference / total);
  }

  LoraAdapter adapter;
  Mistral model;
  AdamW8bit optimizer;
};

std::vector<PackedBatch> single_packs(const std::vector<std::vector<std::int32_t>>& samples) {
  std::vector<PackedBatch> batches;
  for (const auto& sample : samples) batches.push_back(pack_of({sample}, 0, 1000000));
  return batches;
}

double mean_loss(Trainer& trainer, const PackedBatch& batch) {
  const auto losses = trainer.model.evaluate(batch);
  return std::accumulate(losses->begin(), losses->end(), 0.0) / static_cast<double>(batch.targets);
}

TEST(TrainStep, LossIsTheMeanOverAllTargetsOfTheStep) {
  const auto samples = random_samples({60, 9}, 160);
  Trainer trainer;
  const auto batches = single_packs(samples);
  const double first = mean_loss(trainer, batches[0]), second = mean_loss(trainer, batches[1]);
  const StepResult result = trainer.step(batches, 1, {});
  // The first id of a sample is no target.
  constexpr int kFirstTargets = 60 - 1, kSecondTargets = 9 - 1, kTargets = kFirstTargets + kSecondTargets;
  EXPECT_EQ(result.targets, kTargets);
  EXPECT_EQ(result.tokens, 60 + 9);
  EXPECT_EQ(result.samples, 2);
  // Far below what a sum in fp32 loses.
  EXPECT_NEAR(result.loss, (kFirstTargets * first + kSecondTargets * second) / kTargets, 1e-12);
  EXPECT_TRUE(result.finite);
}

TEST(TrainStep, MeanOfMeansWeighsMicroBatchesAlike) {
  const auto batches = single_packs(random_samples({60, 9}, 160));
  Trainer trainer;
  const double first = mean_loss(trainer, batches[0]), second = mean_loss(trainer, batches[1]);
  const StepResult both = trainer.step(batches, 1, {.mean_of_means = true, .accumulation_steps = 2});
  EXPECT_NEAR(both.loss, (first + second) / 2, 1e-6);
  // A group that is not full is still divided by the number of a full one.
  Trainer alone;
  EXPECT_NEAR(alone.step({batches[0]}, 1, {.mean_of_means = true, .accumulation_steps = 2}).loss, first / 2, 1e-6);
}

TEST(TrainStep, TwoPacksInOneMicroBatchEqualTwoMicroBatches) {
  const auto samples = random_samples({60, 9, 44, 31}, 160);
  const PackedBatch together = pack_of(samples, 0, 1000000);
  Trainer one, two, four;
  const StepResult a = one.step({together}, 1, {});
  const StepResult b =
      two.step({pack_of({samples[0], samples[1]}, 0, 1000000), pack_of({samples[2], samples[3]}, 0, 1000000)}, 1, {});
  const StepResult c = four.step(single_packs(samples), 1, {});
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * a.loss);
  EXPECT_NEAR(a.loss, c.loss, 1e-6 * a.loss);
  EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-6 * a.grad_norm);
  EXPECT_LE(two.gradient_distance(one), 1e-6);
  EXPECT_LE(four.gradient_distance(one), 1e-6);
}

TEST(TrainStep, ClipsByTheGlobalNormAndReportsTheNormBefore) {
  const auto batches = single_packs(random_samples({50}, 160));
  Trainer loose, tight;
  const StepResult free = loose.step(batches, 1, {.max_grad_norm = 0});
  EXPECT_EQ(free.clip_factor, 1.0);
  double squares = 0;
  for (const LoraFactor& factor : loose.adapter.factors()) {
    for (const float value : factor.gradients()) squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(free.grad_norm, std::sqrt(squares), 1e-5 * free.grad_norm);
  const double limit = free.grad_norm / 8;
  const StepResult clipped = tight.step(batches, 1, {.max_grad_norm = limit});
  EXPECT_EQ(clipped.grad_norm, free.grad_norm);
  EXPECT_EQ(clipped.clip_factor, limit / (free.grad_norm + 1e-6));
  EXPECT_EQ(loose.step(batches, 2, {.max_grad_norm = 1e9}).clip_factor, 1.0);
}

TEST(TrainStep, LowersTheLossAndSaysWhereTheUpdateWasLargest) {
  const auto batches = single_packs(random_samples({64, 64}, 160));
  Trainer trainer;
  std::vector<double> losses;
  for (std::uint64_t step = 1; step <= 12; ++step) {
    const std::vector<float> before = trainer.values();
    const StepResult result = trainer.step(batches, step, {.lora_dropout = 0.1});
    losses.push_back(result.loss);
    EXPECT_GT(result.update_max, 0.0);
    EXPECT_LE(result.update_max, 32e-3);
    EXPECT_LT(result.update_element, trainer.adapter.factors()[static_cast<std::size_t>(result.update_tensor)].count());
    EXPECT_NE(before, trainer.values());
  }
  EXPECT_LT(losses.back(), losses.front() - 0.05);
}

TEST(TrainStep, RepeatsToTheBitAndDropoutDependsOnStepAndSeed) {
  const auto batches = single_packs(random_samples({64, 30}, 160));
  const auto run = [&](std::uint64_t step, std::uint64_t seed) {
    Trainer trainer(DType::kBf16);
    trainer.step(batches, step, {.seed = seed, .lora_dropout = 0.1});
    return trainer.values();
  };
  EXPECT_EQ(run(1, 42), run(1, 42));
  EXPECT_NE(run(1, 42), run(2, 42));
  EXPECT_NE(run(1, 42), run(1, 43));
}

TEST(TrainStep, LeftoverGradientsOfAnEarlierStepDoNotCount) {
  const auto batches = single_packs(random_samples({64}, 160));
  Trainer clean, dirty;
  for (LoraFactor& factor : dirty.adapter.factors()) std::ranges::fill(factor.gradients(), 100.0f);
  clean.step(batches, 1, {});
  dirty.step(batches, 1, {});
  EXPECT_EQ(clean.values(), dirty.values());
}

TEST(TrainStep, StepWithoutTargetsOnlyDecays) {
  PackedBatch batch = pack_of(random_samples({20}, 160));
  std::ranges::fill(batch.labels, kIgnoredLabel);
  batch.targets = 0;
  for (const bool mean_of_means : {false, true}) {
    Trainer trainer;
    const std::vector<float> before = trainer.values();
    const StepResult result = trainer.step({batch}, 1, {.mean_of_means = mean_of_means});
    EXPECT_TRUE(result.finite);
    EXPECT_EQ(result.loss, 0.0);
    EXPECT_EQ(result.grad_norm, 0.0);
    const std::vector<float> after = trainer.values();
    for (std::size_t i = 0; i < before.size(); ++i) ASSERT_NEAR(after[i], before[i] * (1 - 5e-5f), 1e-7f);
  }
}

TEST(TrainStep, GradientsAloneMoveNothing) {
  Trainer trainer;
  const std::vector<float> before = trainer.values();
  const auto batches = single_packs(random_samples({64}, 160));
  auto result = compute_gradients(trainer.model, trainer.adapter, batches, 1, {});
  ASSERT_TRUE(result);
  EXPECT_GT(result->grad_norm, 0.0);
  EXPECT_EQ(trainer.values(), before);
  EXPECT_EQ(trainer.optimizer.step_count(), 0u);
  apply_gradients(trainer.model, trainer.optimizer, 1e-3, *result);
  EXPECT_NE(trainer.values(), before);
  EXPECT_EQ(trainer.optimizer.step_count(), 1u);
}

TEST(TrainStep, GradientsThatAreNotFiniteAreNotApplied) {
  Trainer trainer;
  StepResult result;
  result.finite = false;
  EXPECT_THROW(apply_gradients(trainer.model, trainer.optimizer, 1e-3, result), Error);
}

TEST(TrainStep, NothingIsUpdatedWhenALossIsNotFinite) {
  const auto samples = random_samples({20, 30}, 100);
  auto batches = single_packs(samples);
  batches[1].ids[12] = 155;
  LoraAdapter adapter(tiny_config(), {.rank = 20, .alpha = 16}, DType::kF32);
  MistralWeights weights = tiny_weights(tiny_config(), DType::kF32);
  weights.embedding.data<float>()[155 * 64] = std::numeric_limits<float>::infinity();
  Mistral model(std::move(weights), &adapter);
  randomize(adapter, model.ops());
  AdamW8bit optimizer(adapter, {});
  const std::vector<float> before(adapter.factors()[0].values().begin(), adapter.factors()[0].values().end());
  const auto result = train_step(model, adapter, optimizer, batches, 5, 1e-3, {});
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->finite);
  EXPECT_EQ(result->first_bad_micro_batch, 1);
  EXPECT_EQ(optimizer.step_count(), 0u);
  EXPECT_TRUE(std::ranges::equal(before, adapter.factors()[0].values()));
  const auto report = find_non_finite(model, batches, 5, {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->micro_batch, 1);
  EXPECT_EQ(report->tensor.name, "embedding");
  EXPECT_EQ(report->tensor.token, 12);
}

TEST(TrainStep, NothingIsUpdatedWhenOnlyTheGradientIsNotFinite) {
  Trainer trainer;
  make_gradient_infinite(trainer.model, trainer.adapter);
  const std::vector<float> before = trainer.values();
  const auto batches = single_packs(random_samples({64}, 160));
  const StepResult result = trainer.step(batches, 1, {});
  EXPECT_TRUE(std::isfinite(result.loss));
  EXPECT_EQ(result.first_bad_micro_batch, -1) << "the guard of the loss has nothing to say";
  EXPECT_FALSE(std::isfinite(result.grad_norm));
  EXPECT_FALSE(result.finite);
  EXPECT_EQ(trainer.values(), before);
  EXPECT_EQ(trainer.optimizer.step_count(), 0u);
}

// In a process of its own, since a stop cannot be taken back.
TEST(TrainStepDeathTest, StopIsNoticedBetweenLayersAndNothingIsUpdated) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto stopped_without_update = [] {
    install_signal_handlers();
    Trainer trainer;
    const std::vector<float> before = trainer.values();
    const auto batches = single_packs(random_samples({64}, 160));
    std::raise(SIGTERM);
    const auto result = train_step(trainer.model, trainer.adapter, trainer.optimizer, batches, 1, 1e-3, {});
    return !result && trainer.values() == before && trainer.optimizer.step_count() == 0 &&
           !trainer.model.evaluate(batches[0]);
  };
  EXPECT_EXIT(std::_Exit(stopped_without_update() ? 0 : 1), testing::ExitedWithCode(0), "");
}

TEST(TrainStep, RefusesAnotherAdapterThanTheModels) {
  Trainer trainer;
  LoraAdapter other(tiny_config(), {.rank = 20, .alpha = 16}, DType::kF32);
  const auto batches = single_packs(random_samples({64}, 160));
  EXPECT_THROW(train_step(trainer.model, other, trainer.optimizer, batches, 1, 1e-3, {}), Error);
}

}  // namespace
}  // namespace shori
