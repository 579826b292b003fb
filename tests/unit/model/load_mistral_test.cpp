// From files to weights in memory.
#include "shori/model/load_mistral.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "tests/support/model_folder.h"
#include "tests/support/nf4_vectors.h"

namespace shori {
namespace {

void expect_dense(const OwnedTensor& tensor, const std::vector<float>& values, DType dtype) {
  ASSERT_EQ(tensor.dtype(), dtype);
  ASSERT_EQ(tensor.count(), std::ssize(values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      ASSERT_EQ(tensor.data<float>()[i], values[i]);
    } else {
      ASSERT_EQ(tensor.data<Bf16>()[i].bits, to_bf16(values[i]).bits);
    }
  }
}

template <typename T>
std::vector<T> values_of(const OwnedTensor& tensor) {
  return {tensor.data<T>(), tensor.data<T>() + tensor.count()};
}

void expect_nf4(const LinearWeight& linear, const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  const auto& weight = std::get<Nf4Weight>(linear);
  const Nf4Vectors expected = *quantize_nf4(values, rows, cols);
  EXPECT_EQ(values_of<std::uint8_t>(weight.codes), expected.codes);
  EXPECT_EQ(values_of<std::uint8_t>(weight.absmax), expected.absmax);
  EXPECT_EQ(values_of<float>(weight.absmax2), expected.absmax2);
  EXPECT_EQ(weight.offset, expected.offset);
  EXPECT_EQ(weight.layout.rows, rows);
  EXPECT_EQ(weight.layout.cols, cols);
}

class LoadMistral : public testing::TestWithParam<FileDType> {};

TEST_P(LoadMistral, QuantizesLinearsAsStoredAndRoundsTheRest) {
  for (const DType activation : {DType::kBf16, DType::kF32}) {
    ModelFolder folder({.dtype = GetParam()});
    const MistralWeights weights = load_mistral(folder.open(), {.activation = activation, .progress = {}});
    EXPECT_EQ(weights.config.layers, 2);
    EXPECT_EQ(weights.config.sliding_window, 32);
    EXPECT_EQ(weights.config.head_dim, 16);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      for (const Linear linear : kLinears) {
        const LinearShape shape = shape_of(weights.config, linear);
        expect_nf4(weights.layers[layer][linear], folder.values(concat(prefix, path_of(linear), ".weight")), shape.out,
                   shape.in);
      }
      expect_dense(weights.layers[layer].input_norm, folder.values(prefix + "input_layernorm.weight"), activation);
      expect_dense(weights.layers[layer].post_attention_norm, folder.values(prefix + "post_attention_layernorm.weight"),
                   activation);
    }
    expect_dense(weights.embedding, folder.values("model.embed_tokens.weight"), activation);
    expect_dense(weights.final_norm, folder.values("model.norm.weight"), activation);
    expect_dense(weights.head, folder.values("lm_head.weight"), activation);
  }
}

INSTANTIATE_TEST_SUITE_P(FileTypes, LoadMistral, testing::Values(FileDType::kBf16, FileDType::kF16, FileDType::kF32),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

TEST(LoadMistralFolder, KeepsLinearsDenseWithoutQuantization) {
  ModelFolder folder({.dtype = FileDType::kF32});
  for (const DType activation : {DType::kBf16, DType::kF32}) {
    const MistralWeights weights =
        load_mistral(folder.open(), {.activation = activation, .quantize = false, .progress = {}});
    expect_dense(std::get<OwnedTensor>(weights.layers[1][Linear::kDown]),
                 folder.values("model.layers.1.mlp.down_proj.weight"), activation);
    EXPECT_EQ(frozen_view(weights.layers[1][Linear::kDown]).dtype, activation);
  }
}

TEST(LoadMistralFolder, TiedModelHasNoHeadOfItsOwn) {
  ModelFolder folder({.tied = true});
  const MistralWeights weights = load_mistral(folder.open(), {.progress = {}});
  EXPECT_FALSE(weights.head);
  EXPECT_EQ(&weights.head_weight(), &weights.embedding);
}

TEST(LoadMistralFolder, TensorsOfSeveralChunksAreWhole) {
  ModelFolder folder({.intermediate = 65600, .vocab = 65700});
  const MistralWeights weights = load_mistral(folder.open(), {.activation = DType::kF32, .threads = 2, .progress = {}});
  expect_dense(weights.embedding, folder.values("model.embed_tokens.weight"), DType::kF32);
  expect_nf4(weights.layers[1][Linear::kUp], folder.values("model.layers.1.mlp.up_proj.weight"), 65600, 64);
}

TEST(LoadMistralFolder, ReportsEveryByteOnce) {
  ModelFolder folder({});
  const HfModel model = folder.open();
  std::uint64_t last = 0, whole = 0;
  load_mistral(model, {.progress = [&](std::uint64_t done, std::uint64_t total) {
                 EXPECT_GT(done, last);
                 last = done;
                 whole = total;
               }});
  EXPECT_EQ(last, model.tensor_bytes());
  EXPECT_EQ(whole, model.tensor_bytes());
}

TEST(LoadMistralFolder, FingerprintComesWithTheWeights) {
  ModelFolder folder({});
  for (const int threads : {1, 4}) {
    const HfModel model = folder.open();
    EXPECT_EQ(load_mistral(model, {.threads = threads, .progress = {}}).fingerprint, model.fingerprint());
  }
}

TEST(LoadMistralFolder, CountsZeroBlocks) {
  ModelFolder folder({});
  std::fill_n(folder.values("model.layers.0.self_attn.k_proj.weight").begin() + 128, 64, 0.0f);
  EXPECT_EQ(load_mistral(folder.open(), {.progress = {}}).zero_blocks, 1);
}

TEST(LoadMistralFolder, RefusesNanAndInfWithTensorAndIndex) {
  struct Bad {
    std::string tensor;
    std::size_t element;
    float value;
    std::string message, place;
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  const Bad cases[] = {
      {"model.layers.1.mlp.down_proj.weight", 1000, kNan,
       "`model.layers.1.mlp.down_proj.weight` holds NaN at element 1000", "row 10, column 40"},
      {"model.embed_tokens.weight", 65, kInf, "`model.embed_tokens.weight` holds Inf at element 65", "row 1, column 1"},
      {"model.layers.0.input_layernorm.weight", 7, -kInf,
       "`model.layers.0.input_layernorm.weight` holds -Inf at element 7", "row 0, column 7"}};
  for (const Bad& bad : cases) {
    ModelFolder folder({});
    folder.values(bad.tensor)[bad.element] = bad.value;
    const HfModel model = folder.open();
    try {
      load_mistral(model, {.progress = {}});
      FAIL() << bad.tensor;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0210");
      EXPECT_EQ(error.exit_code(), 3);
      EXPECT_EQ(error.diagnostics().front().message, bad.message);
      EXPECT_EQ(error.diagnostics().front().notes.front(), bad.place);
    }
  }
}

}  // namespace
}  // namespace shori
