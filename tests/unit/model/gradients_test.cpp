// Loss and every gradient of the model against float64 autograd. Tolerance: twice the error that the same model,
// computed by ATen in the same precision, has against float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "shori/model/mistral.h"
#include "tests/support/reference_mistral.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

struct Case {
  std::string name;
  DType activation = DType::kF32;
  float dropout = 0;
  std::int64_t window = 0;
  std::int64_t rank = 20;
  std::array<bool, kLinearCount> targets = {true, true, true, true, true, true, true};
  bool quantize = true;
  bool tied = false;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

struct Numbers {
  double loss = 0;
  at::Tensor losses;  // [T]
  std::vector<at::Tensor> gradients;
};

class ModelGradients : public testing::TestWithParam<Case> {
 protected:
  static MistralConfig config() {
    MistralConfig config = tiny_config();
    config.sliding_window = GetParam().window;
    config.tie_word_embeddings = GetParam().tied;
    return config;
  }
  static LoraSettings settings() { return {.rank = GetParam().rank, .alpha = 16, .targets = GetParam().targets}; }
  static DropoutKey dropout() {
    return {.seed = 0x1234567890abcdefu, .step = 3, .micro_batch = 1, .probability = GetParam().dropout};
  }
  static PackedBatch batch() { return pack_of(random_samples({37, 5, 1, 61}, tiny_config().vocab_size), 24); }

  static Numbers reference(const MistralWeights& weights, const LoraAdapter& adapter, at::ScalarType dtype) {
    ReferenceMistral model(weights, adapter, dtype);
    const PackedBatch pack = batch();
    const at::Tensor losses = model.losses(pack, dropout());
    const at::Tensor loss = losses.sum() / static_cast<double>(pack.targets);
    loss.backward();
    Numbers numbers{loss.item<double>(), losses.detach().to(at::kDouble), {}};
    for (std::size_t i = 0; i < adapter.factors().size(); ++i) numbers.gradients.push_back(model.gradient(i));
    return numbers;
  }

  static Numbers ours(MistralWeights weights, LoraAdapter& adapter) {
    Mistral model(std::move(weights), &adapter);
    const PackedBatch pack = batch();
    const double weight = 1.0 / static_cast<double>(pack.targets);
    adapter.zero_gradients(model.ops());
    model.begin(pack, dropout());
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
    const std::span<const float> losses = model.head_loss(weight);
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
    Numbers numbers;
    numbers.loss = std::accumulate(losses.begin(), losses.end(), 0.0) * weight;
    numbers.losses =
        to_double(ConstTensorView{losses.data(), DType::kF32, 1, std::ssize(losses), std::ssize(losses)}).squeeze(0);
    for (const LoraFactor& factor : adapter.factors()) numbers.gradients.push_back(to_double(factor.gradient.view()));
    return numbers;
  }
};

TEST_P(ModelGradients, AreWithinTwiceTheErrorOfAten) {
  const bool bf16 = GetParam().activation == DType::kBf16;
  LoraAdapter adapter(config(), settings(), GetParam().activation);
  randomize(adapter, cpu());
  const MistralWeights weights = tiny_weights(config(), GetParam().activation, GetParam().quantize);
  const Numbers oracle = reference(weights, adapter, at::kDouble);
  const Numbers framework = reference(weights, adapter, bf16 ? at::kBFloat16 : at::kFloat);
  const Numbers result = ours(tiny_weights(config(), GetParam().activation, GetParam().quantize), adapter);

  // A single number's error may happen to be near 0; the errors of the token losses say how large it typically is.
  const double loss_scale = relative_error(framework.losses, oracle.losses) * oracle.loss;
  EXPECT_LE(std::abs(result.loss - oracle.loss), 2 * std::max(std::abs(framework.loss - oracle.loss), loss_scale));
  EXPECT_LE(relative_error(result.losses, oracle.losses), 2 * relative_error(framework.losses, oracle.losses));
  ASSERT_EQ(result.gradients.size(), oracle.gradients.size());
  double worst = 0;
  for (std::size_t i = 0; i < oracle.gradients.size(); ++i) {
    const double own = relative_error(result.gradients[i], oracle.gradients[i]);
    const double theirs = relative_error(framework.gradients[i], oracle.gradients[i]);
    EXPECT_LE(own, 2 * theirs) << adapter.factors()[i].name;
    EXPECT_GT(oracle.gradients[i].norm().item<double>(), 0.0) << adapter.factors()[i].name;
    worst = std::max(worst, own / theirs);
  }
  RecordProperty("worst_ratio", std::to_string(worst));
}

INSTANTIATE_TEST_SUITE_P(Cases, ModelGradients,
                         testing::Values(Case{.name = "Fp32"}, Case{.name = "Fp32Dropout", .dropout = 0.1f},
                                         Case{.name = "Fp32Window", .window = 16},
                                         Case{.name = "Fp32Tied", .tied = true},
                                         Case{.name = "Fp32Dense", .quantize = false},
                                         Case{.name = "Fp32Subset",
                                              .dropout = 0.3f,
                                              .rank = 5,
                                              .targets = {true, false, true, false, false, true, false}},
                                         Case{.name = "Fp32OnlyDown",
                                              .rank = 8,
                                              .targets = {false, false, false, false, false, false, true}},
                                         Case{.name = "Bf16", .activation = DType::kBf16},
                                         Case{.name = "Bf16Dropout", .activation = DType::kBf16, .dropout = 0.1f},
                                         Case{.name = "Bf16Window", .activation = DType::kBf16, .window = 16},
                                         Case{.name = "Bf16Dense", .activation = DType::kBf16, .quantize = false}),
                         [](const auto& info) { return info.param.name; });

// One layer by itself: also its output and the gradient of its input.
class LayerGradients : public testing::TestWithParam<DType> {};

TEST_P(LayerGradients, OfOutputAndInputAreWithinTwiceTheErrorOfAten) {
  const MistralConfig config = tiny_config();
  const DropoutKey dropout{.seed = 7, .step = 1, .micro_batch = 0, .probability = 0.1f};
  const PackedBatch batch = pack_of(random_samples({300, 44, 200}, config.vocab_size));
  const auto tokens = static_cast<std::int64_t>(batch.ids.size());
  LoraAdapter adapter(config, {.rank = 20, .alpha = 16}, GetParam());
  randomize(adapter, cpu());
  const MistralWeights weights = tiny_weights(config, GetParam());
  std::mt19937 random(3);
  const std::vector<float> x = random_weights(random, tokens * config.hidden_size, 1.0);
  const std::vector<float> dy = random_weights(random, tokens * config.hidden_size, 0.01);
  const OwnedTensor input = dense_tensor(x, GetParam(), tokens, config.hidden_size);
  const OwnedTensor dx = dense_tensor(dy, GetParam(), tokens, config.hidden_size);
  const at::Tensor dy_double = to_double(dx.view());

  struct Result {
    at::Tensor output, dx;
    std::vector<at::Tensor> gradients;
  };
  const auto reference = [&](at::ScalarType dtype) {
    ReferenceMistral model(weights, adapter, dtype);
    const at::Tensor leaf = to_double(input.view()).to(dtype).set_requires_grad(true);
    const at::Tensor output = model.layer_output(1, leaf, batch, dropout);
    (output.to(at::kDouble) * dy_double).sum().backward();
    Result result{output.detach().to(at::kDouble), leaf.grad().to(at::kDouble), {}};
    for (std::size_t i = 14; i < 28; ++i) result.gradients.push_back(model.gradient(i));
    return result;
  };
  const Result oracle = reference(at::kDouble);
  const Result framework = reference(GetParam() == DType::kF32 ? at::kFloat : at::kBFloat16);

  Workspace workspace;
  const RopeTable rope = make_rope_table(GetParam(), 300, config.head_dim, config.rope_theta);
  const LayerContext context{.ops = {.workspace = &workspace},
                             .rope = &rope,
                             .position_ids = batch.position_ids,
                             .cu_seqlens = batch.cu_seqlens,
                             .dropout = dropout,
                             .probe = {}};
  const DecoderLayer layer(config, weights.layers[1], &adapter, 1);
  LayerBuffers buffers;
  buffers.reserve(layer, GetParam(), tokens, true, CheckpointingPolicy::uniform(1, Recompute::kAll), nullptr);
  adapter.zero_gradients(context.ops);
  forward_layer(context, layer, input.view(), std::nullopt, buffers, {});
  const at::Tensor output = to_double(buffers.hidden.view()) + to_double(buffers.delta.view());
  backward_layer(context, layer, input.view(), buffers, dx.view(), false, {});

  EXPECT_LE(relative_error(output, oracle.output), 2 * relative_error(framework.output, oracle.output));
  EXPECT_LE(relative_error(to_double(dx.view()), oracle.dx), 2 * relative_error(framework.dx, oracle.dx));
  for (std::size_t i = 0; i < 14; ++i) {
    const LoraFactor& factor = adapter.factors()[14 + i];
    EXPECT_LE(relative_error(to_double(factor.gradient.view()), oracle.gradients[i]),
              2 * relative_error(framework.gradients[i], oracle.gradients[i]))
        << factor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, LayerGradients, testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& info) { return info.param == DType::kF32 ? "Fp32" : "Bf16"; });

}  // namespace
}  // namespace shori
