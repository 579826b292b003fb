// What is kept of each layer changes no bit of losses and gradients. The mode that recomputes everything, with which the others
// are compared, is held against float64 autograd in gradients_test.cpp.
#include <gtest/gtest.h>

#include "shori/model/mistral.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

struct Numbers {
  std::vector<float> losses, evaluated;
  std::vector<std::vector<float>> gradients;
  bool operator==(const Numbers&) const = default;
};

Numbers run(DType activation, const MistralConfig& config, const LoraSettings& settings,
            const CheckpointingPolicy& policy, bool quantize = true) {
  LoraAdapter adapter(config, settings, activation);
  Mistral model(tiny_weights(config, activation, quantize), &adapter);
  randomize(adapter, model.ops());
  model.set_checkpointing(policy);
  Numbers numbers;
  const PackedBatch packs[] = {pack_of(random_samples({37, 90, 5, 64}, config.vocab_size), 24),
                               pack_of(random_samples({120}, config.vocab_size, 6))};
  for (std::uint32_t i = 0; i < 2; ++i) {
    model.begin(packs[i], {.seed = 5, .step = 2, .micro_batch = i, .probability = 0.1f});
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
    const std::span<const float> losses = model.head_loss(1e-2);
    numbers.losses.insert(numbers.losses.end(), losses.begin(), losses.end());
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
    const auto evaluated = model.evaluate(packs[1 - i]);
    numbers.evaluated.insert(numbers.evaluated.end(), evaluated->begin(), evaluated->end());
  }
  for (const LoraFactor& factor : adapter.factors())
    numbers.gradients.emplace_back(factor.gradients().begin(), factor.gradients().end());
  return numbers;
}

MistralConfig three_layers() {
  MistralConfig config = tiny_config();
  config.layers = 3;
  return config;
}

class ActivationModes : public ::testing::TestWithParam<DType> {};

TEST_P(ActivationModes, GiveTheSameBits) {
  const MistralConfig config = three_layers();
  const LoraSettings settings{.rank = 20, .alpha = 16};
  const Numbers wanted = run(GetParam(), config, settings, CheckpointingPolicy::uniform(3, Recompute::kAll));
  for (const std::vector<Recompute>& layers : {std::vector{Recompute::kMlp, Recompute::kMlp, Recompute::kMlp},
                                               {Recompute::kNone, Recompute::kNone, Recompute::kNone},
                                               {Recompute::kMlp, Recompute::kNone, Recompute::kNone},
                                               {Recompute::kNone, Recompute::kAll, Recompute::kMlp},
                                               {Recompute::kAll, Recompute::kAll, Recompute::kNone}}) {
    EXPECT_TRUE(wanted == run(GetParam(), config, settings, {layers}))
        << static_cast<int>(layers[0]) << static_cast<int>(layers[1]) << static_cast<int>(layers[2]);
  }
}

// Groups without a LoRA slot have no tail to save.
TEST_P(ActivationModes, GiveTheSameBitsWithSomeModulesAdapted) {
  const MistralConfig config = three_layers();
  for (const std::array<bool, kLinearCount>& targets :
       {std::array{true, false, true, false, false, false, false}, {false, false, false, true, false, true, true}}) {
    const LoraSettings settings{.rank = 8, .alpha = 16, .targets = targets};
    const Numbers wanted = run(GetParam(), config, settings, CheckpointingPolicy::uniform(3, Recompute::kAll), false);
    for (const Recompute recompute : {Recompute::kMlp, Recompute::kNone}) {
      EXPECT_TRUE(wanted == run(GetParam(), config, settings, CheckpointingPolicy::uniform(3, recompute), false));
    }
  }
}

TEST_P(ActivationModes, GiveTheSameBitsInAnyTilesOfTheMlp) {
  MistralConfig config = tiny_config();
  config.layers = 1;
  LoraAdapter adapter(config, {.rank = 4, .alpha = 16}, GetParam());
  const PackedBatch pack = pack_of(random_samples({2500, 1700}, config.vocab_size), 8);
  ASSERT_GT(std::ssize(pack.ids), kMlpTile);
  std::vector<std::vector<float>> wanted;
  for (const CheckpointingPolicy& policy : {CheckpointingPolicy{.layers = {Recompute::kAll}},
                                            {.layers = {Recompute::kMlp}, .mlp_tile = 2 * kMlpTile},
                                            {.layers = {Recompute::kNone}, .mlp_tile = 1024}}) {
    Mistral model(tiny_weights(config, GetParam()), &adapter);
    randomize(adapter, model.ops());
    adapter.zero_gradients(model.ops());
    model.set_checkpointing(policy);
    model.begin(pack, {.seed = 5, .step = 2, .probability = 0.1f});
    model.forward_layer(0);
    model.head_loss(1e-3);
    model.backward_layer(0);
    std::vector<std::vector<float>> got;
    for (const LoraFactor& factor : adapter.factors())
      got.emplace_back(factor.gradients().begin(), factor.gradients().end());
    if (wanted.empty()) wanted = got;
    EXPECT_TRUE(wanted == got) << static_cast<int>(policy.layers.front()) << ", tiles of " << policy.mlp_tile;
  }
}

INSTANTIATE_TEST_SUITE_P(, ActivationModes, ::testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return info.param == DType::kF32 ? "fp32" : "bf16"; });

}  // namespace
}  // namespace shori
