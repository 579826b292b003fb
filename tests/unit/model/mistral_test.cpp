// Properties of whole passes: packs, tiles, threads, replay, evaluation, the search for NaN.
#include "shori/model/mistral.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "shori/model/find_non_finite.h"
#include "shori/util/error.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

using Gradients = std::vector<std::vector<float>>;

Gradients gradients_of(const LoraAdapter& adapter) {
  Gradients result;
  for (const LoraFactor& factor : adapter.factors())
    result.emplace_back(factor.gradients().begin(), factor.gradients().end());
  return result;
}

double distance(const Gradients& a, const Gradients& b) {
  double difference = 0, total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < a[i].size(); ++j) {
      difference += (a[i][j] - b[i][j]) * (a[i][j] - b[i][j]);
      total += b[i][j] * b[i][j];
    }
  }
  return std::sqrt(difference / total);
}

// A model and its adapter, ready to run.
struct Runner {
  explicit Runner(DType activation, MistralConfig config = tiny_config())
      : adapter(config, {.rank = 20, .alpha = 16}, activation), model(tiny_weights(config, activation), &adapter) {
    randomize(adapter, model.ops());
  }

  // Adds to the adapter's gradients.
  std::vector<float> pass(const PackedBatch& batch, double weight, const DropoutKey& dropout = {}) {
    model.begin(batch, dropout);
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
    const std::span<const float> losses = model.head_loss(weight);
    std::vector<float> result(losses.begin(), losses.end());
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
    return result;
  }

  LoraAdapter adapter;
  Mistral model;
};

TEST(Pack, GivesEachSampleWhatItGetsAlone) {
  const auto samples = random_samples({37, 90, 5, 64}, tiny_config().vocab_size);
  const PackedBatch pack = pack_of(samples, 24, 1000000);
  const double weight = 1.0 / static_cast<double>(pack.targets);
  Runner together(DType::kF32), alone(DType::kF32);
  const std::vector<float> losses = together.pass(pack, weight);
  std::size_t first = 0;
  for (const auto& sample : samples) {
    const std::vector<float> own = alone.pass(pack_of({sample}, 0, 1000000), weight);
    for (std::size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(losses[first + i], own[i], 2e-5f);
    first += sample.size();
  }
  for (; first < losses.size(); ++first) EXPECT_EQ(losses[first], 0.0f);
  EXPECT_LE(distance(gradients_of(together.adapter), gradients_of(alone.adapter)), 2e-6);
}

TEST(Pack, SampleDoesNotSeeItsNeighbours) {
  for (const DType activation : {DType::kF32, DType::kBf16}) {
    auto samples = random_samples({40, 33, 20}, tiny_config().vocab_size);
    Runner runner(activation);
    const std::vector<float> before = runner.pass(pack_of(samples), 0.01);
    for (std::int32_t& id : samples[0]) id = (id + 1) % 160;
    for (std::int32_t& id : samples[2]) id = (id + 7) % 160;
    const std::vector<float> after = runner.pass(pack_of(samples), 0.01);
    for (std::size_t i = 40; i < 73; ++i) EXPECT_EQ(before[i], after[i]) << i;
    EXPECT_NE(before[5], after[5]);
  }
}

TEST(Accumulation, TwoMicroBatchesEqualOne) {
  const auto samples = random_samples({50, 61, 70, 11}, tiny_config().vocab_size);
  const PackedBatch whole = pack_of(samples);
  const PackedBatch first = pack_of({samples[0], samples[1]}), second = pack_of({samples[2], samples[3]});
  Runner one(DType::kF32), two(DType::kF32);
  const double targets = static_cast<double>(first.targets + second.targets);
  // pack_of masks by position, so both forms take the targets of the whole.
  PackedBatch front = first, back = second;
  std::copy_n(whole.labels.begin(), front.labels.size(), front.labels.begin());
  std::copy_n(whole.labels.begin() + std::ssize(front.labels), back.labels.size(), back.labels.begin());
  one.pass(whole, 1 / targets);
  two.pass(front, 1 / targets);
  two.pass(back, 1 / targets);
  EXPECT_LE(distance(gradients_of(two.adapter), gradients_of(one.adapter)), 1e-6);
}

TEST(Pass, RepeatsToTheBitAtOneAndTwoThreads) {
  const PackedBatch pack = pack_of(random_samples({700, 300, 555}, tiny_config().vocab_size), 45);
  const DropoutKey dropout{.seed = 5, .step = 2, .probability = 0.1f};
  for (const DType activation : {DType::kF32, DType::kBf16}) {
    std::vector<float> losses;
    Gradients gradients;
    for (const int threads : {1, 2, 1}) {
      at::set_num_threads(threads);
      Runner runner(activation);
      const std::vector<float> now = runner.pass(pack, 1e-3, dropout);
      if (losses.empty()) {
        losses = now;
        gradients = gradients_of(runner.adapter);
      }
      EXPECT_EQ(losses, now);
      EXPECT_EQ(gradients, gradients_of(runner.adapter));
    }
  }
}

TEST(Pass, BufferSizeAndEarlierPassesDoNotMatter) {
  const PackedBatch small = pack_of(random_samples({50, 14}, tiny_config().vocab_size));
  const PackedBatch large = pack_of(random_samples({400}, tiny_config().vocab_size, 8));
  const DropoutKey dropout{.seed = 5, .step = 2, .probability = 0.1f};
  Runner fresh(DType::kBf16), used(DType::kBf16);
  used.pass(large, 1e-2, dropout);
  used.model.evaluate(large);
  used.adapter.zero_gradients(used.model.ops());
  EXPECT_EQ(fresh.pass(small, 1e-2, dropout), used.pass(small, 1e-2, dropout));
  EXPECT_EQ(gradients_of(fresh.adapter), gradients_of(used.adapter));
}

TEST(Pass, LongerThanOneMlpTileEqualsItsPartsAlone) {
  MistralConfig config = tiny_config();
  config.layers = 1;
  const auto samples = random_samples({2048, 2048, 900}, config.vocab_size);
  Runner together(DType::kF32, config), alone(DType::kF32, config);
  const PackedBatch pack = pack_of(samples, 0, 1000000);
  ASSERT_GT(std::ssize(pack.ids), kMlpTile);
  together.pass(pack, 1e-3);
  for (const auto& sample : samples) alone.pass(pack_of({sample}, 0, 1000000), 1e-3);
  EXPECT_LE(distance(gradients_of(together.adapter), gradients_of(alone.adapter)), 1e-5);
}

TEST(Dropout, DependsOnStepAndMicroBatchAndIsOffInEvaluation) {
  const PackedBatch pack = pack_of(random_samples({120}, tiny_config().vocab_size));
  Runner runner(DType::kF32);
  const std::vector<float> base = runner.pass(pack, 1e-2, {.seed = 1, .step = 1, .probability = 0.2f});
  EXPECT_EQ(base, runner.pass(pack, 1e-2, {.seed = 1, .step = 1, .probability = 0.2f}));
  EXPECT_NE(base, runner.pass(pack, 1e-2, {.seed = 2, .step = 1, .probability = 0.2f}));
  EXPECT_NE(base, runner.pass(pack, 1e-2, {.seed = 1, .step = 2, .probability = 0.2f}));
  EXPECT_NE(base, runner.pass(pack, 1e-2, {.seed = 1, .step = 1, .micro_batch = 1, .probability = 0.2f}));
  const auto evaluated = runner.model.evaluate(pack);
  ASSERT_TRUE(evaluated);
  const std::vector<float> plain(evaluated->begin(), evaluated->end());
  EXPECT_EQ(plain, runner.pass(pack, 1e-2));
}

TEST(Logits, GiveTheLossesOfEvaluation) {
  for (const DType activation : {DType::kF32, DType::kBf16}) {
    const std::vector<std::int32_t> ids = random_samples({30}, 160).front();
    Runner runner(activation);
    const std::vector<float> logits = runner.model.logits(ids);
    ASSERT_EQ(logits.size(), 30u * 160u);
    const PackedBatch batch = pack_of({ids}, 0, 1000000);
    const auto losses = runner.model.evaluate(batch);
    for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
      double sum = 0;
      for (std::size_t v = 0; v < 160; ++v) sum += std::exp(static_cast<double>(logits[t * 160 + v]));
      EXPECT_NEAR((*losses)[t], std::log(sum) - logits[t * 160 + static_cast<std::size_t>(ids[t + 1])], 2e-5);
    }
  }
}

TEST(Adapter, WithZeroBChangesNothing) {
  const std::vector<std::int32_t> ids = random_samples({30}, 160).front();
  Mistral base(tiny_weights(tiny_config(), DType::kF32));
  Runner runner(DType::kF32);
  const std::vector<float> plain = base.logits(ids), adapted = runner.model.logits(ids);
  EXPECT_NE(plain, adapted);
  runner.adapter.initialize(runner.model.ops(), 42);
  const std::vector<float> fresh = runner.model.logits(ids);
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(fresh[i], plain[i], 1e-5f);
}

TEST(NonFinite, NothingIsFoundInAHealthyPass) {
  const PackedBatch pack = pack_of(random_samples({20}, 160));
  Runner runner(DType::kF32);
  EXPECT_FALSE(find_non_finite(runner.model, pack, {}, 0.1));
}

TEST(NonFinite, FirstTensorIsNamedWithItsToken) {
  const auto samples = random_samples({20, 30}, 100);
  PackedBatch pack = pack_of(samples);
  pack.ids[27] = 155;
  {
    MistralWeights weights = tiny_weights(tiny_config(), DType::kF32);
    weights.embedding.data<float>()[155 * 64 + 3] = std::numeric_limits<float>::quiet_NaN();
    LoraAdapter adapter(tiny_config(), {.rank = 4, .alpha = 16}, DType::kF32);
    Mistral model(std::move(weights), &adapter);
    randomize(adapter, model.ops());
    const auto found = find_non_finite(model, pack, {}, 0.1);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->name, "embedding");
    EXPECT_EQ(found->token, 27);
  }
  {
    Runner runner(DType::kF32);
    for (LoraFactor& factor : runner.adapter.factors()) {
      if (factor.layer == 1 && factor.linear == Linear::kDown && factor.is_b)
        factor.values()[0] = std::numeric_limits<float>::infinity();
    }
    runner.adapter.upload(runner.model.ops());
    const auto found = find_non_finite(runner.model, pack, {}, 0.1);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->name, "layers.1.down_proj output");
    EXPECT_EQ(found->token, 0);
  }
  {
    Runner runner(DType::kF32);
    const auto found = find_non_finite(runner.model, pack, {}, std::numeric_limits<double>::infinity());
    ASSERT_TRUE(found);
    EXPECT_EQ(found->name, "gradient of the last layer's output");
  }
}

TEST(BaseChecksums, FindTheTensorWithAFlippedBit) {
  MistralWeights weights = tiny_weights(tiny_config(), DType::kBf16);
  const OpContext context = cpu();
  const BaseChecksums before = checksum_base(context, weights);
  EXPECT_EQ(before.entries.size(), 3u + 2 * 9);
  EXPECT_FALSE(find_changed_tensor(context, weights, before));
  EXPECT_EQ(before.combined(), checksum_base(context, weights).combined());
  auto& down = std::get<Nf4Weight>(weights.layers[1][Linear::kDown]);
  const auto flip_and_find = [&](std::uint8_t* bytes, std::size_t index) {
    bytes[index] ^= 0x10;
    const auto found = find_changed_tensor(context, weights, before);
    EXPECT_NE(before.combined(), checksum_base(context, weights).combined());
    bytes[index] ^= 0x10;
    return found;
  };
  EXPECT_EQ(flip_and_find(down.codes.data<std::uint8_t>(), 100), "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(flip_and_find(down.absmax.data<std::uint8_t>(), 3), "model.layers.1.mlp.down_proj.weight");
  auto* offset = reinterpret_cast<std::uint8_t*>(&down.offset);
  EXPECT_EQ(flip_and_find(offset, 0), "model.layers.1.mlp.down_proj.weight");
  auto* head = weights.head.data<std::uint8_t>();
  EXPECT_EQ(flip_and_find(head, 5), "lm_head.weight");
  auto* codes = down.codes.data<std::uint8_t>();
  std::swap(codes[0], codes[1]);
  EXPECT_EQ(find_changed_tensor(context, weights, before), "model.layers.1.mlp.down_proj.weight");
}

TEST(Mistral, RefusesAnAdapterOfAnotherPrecision) {
  LoraAdapter adapter(tiny_config(), {.rank = 4, .alpha = 16}, DType::kBf16);
  EXPECT_THROW(Mistral(tiny_weights(tiny_config(), DType::kF32), &adapter), Error);
}

}  // namespace
}  // namespace shori
