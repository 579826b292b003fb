#include "shori/model/lora_adapter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "shori/util/error.h"
#include "shori/util/philox.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

MistralConfig wide_config() {
  MistralConfig config = tiny_config();
  config.hidden_size = 1024;
  config.intermediate_size = 2048;
  config.head_dim = 256;
  return config;
}

TEST(LoraAdapter, HasPeftsNamesAndShapesInCanonicalOrder) {
  const LoraAdapter adapter(tiny_config(), {.rank = 20, .alpha = 16}, DType::kBf16);
  ASSERT_EQ(adapter.factors().size(), 28u);
  EXPECT_EQ(adapter.factors()[0].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(adapter.factors()[1].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  EXPECT_EQ(adapter.factors()[3].name, "base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight");
  EXPECT_EQ(adapter.factors()[27].name, "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight");
  const std::int64_t shapes[14][2] = {{20, 64}, {64, 20}, {20, 64},  {32, 20}, {20, 64},  {32, 20},  {20, 64},
                                      {64, 20}, {20, 64}, {128, 20}, {20, 64}, {128, 20}, {20, 128}, {64, 20}};
  std::int64_t count = 0;
  for (std::size_t i = 0; i < 14; ++i) {
    const LoraFactor& factor = adapter.factors()[14 + i];
    EXPECT_EQ(factor.value.rows(), shapes[i][0]) << factor.name;
    EXPECT_EQ(factor.value.cols(), shapes[i][1]) << factor.name;
    EXPECT_EQ(factor.copy_scale, factor.is_b ? 0.8f : 1.0f);
    count += factor.count();
  }
  EXPECT_EQ(adapter.parameter_count(), 2 * count);
}

TEST(LoraAdapter, OfTheRealModelHas52428800Parameters) {
  const MistralConfig config{.vocab_size = 32000,
                             .hidden_size = 4096,
                             .intermediate_size = 14336,
                             .layers = 1,
                             .heads = 32,
                             .kv_heads = 8,
                             .head_dim = 128};
  const LoraAdapter adapter(config, {.rank = 20, .alpha = 16}, DType::kBf16);
  EXPECT_EQ(adapter.parameter_count() * 32, 52428800);
}

TEST(LoraAdapter, StartsUniformWithPeftsBoundAndZeroB) {
  LoraAdapter adapter(wide_config(), {.rank = 20, .alpha = 16}, DType::kBf16);
  adapter.initialize(cpu(), 42);
  for (const LoraFactor& factor : adapter.factors()) {
    if (factor.is_b) {
      for (const float value : factor.values()) ASSERT_EQ(value, 0.0f);
      continue;
    }
    const double bound = 1.0 / std::sqrt(static_cast<double>(factor.value.cols()));
    double sum = 0, squares = 0, most = 0;
    for (const float value : factor.values()) {
      ASSERT_LE(std::fabs(value), bound * (1 + 1e-7));
      most = std::max<double>(most, std::fabs(value));
      sum += value / bound;
      squares += value / bound * (value / bound);
    }
    const auto count = static_cast<double>(factor.count());
    // Uniform in [-1, 1): variance 1/3, fourth moment 1/5; limits are 5 standard deviations of the estimates.
    EXPECT_LE(std::fabs(sum / count), 5 * std::sqrt(1.0 / 3 / count)) << factor.name;
    EXPECT_NEAR(squares / count, 1.0 / 3, 5 * std::sqrt((1.0 / 5 - 1.0 / 9) / count)) << factor.name;
    EXPECT_GE(most, 0.99 * bound);
  }
}

TEST(LoraAdapter, InitialValuesFollowTheWrittenCounterRule) {
  LoraAdapter adapter(tiny_config(), {.rank = 20, .alpha = 16}, DType::kF32);
  const std::uint64_t seed = 0xabcdef0012345678u;
  adapter.initialize(cpu(), seed);
  const LoraFactor& down = *adapter.find(1, Linear::kDown, false);  // tensor 14 + 12
  for (const std::size_t element : {0, 1, 2, 3, 4, 777, 2559}) {
    const PhiloxWords random = philox4x32(seed, {{static_cast<std::uint32_t>(element / 4), 26, 0, 0xffffffffu}});
    const double unit = 2.0 * (random.word[element % 4] >> 8) / 16777216.0 - 1.0;
    EXPECT_EQ(down.values()[element], static_cast<float>(unit / std::sqrt(128.0)));
  }
}

TEST(LoraAdapter, SubsetOfTargetsStartsFromTheSameValues) {
  LoraAdapter full(tiny_config(), {.rank = 4, .alpha = 16}, DType::kF32);
  const std::string names[] = {"down_proj", "k_proj"};
  LoraAdapter some(tiny_config(), {.rank = 4, .alpha = 16, .targets = lora_targets(names)}, DType::kF32);
  full.initialize(cpu(), 1);
  some.initialize(cpu(), 1);
  ASSERT_EQ(some.factors().size(), 8u);
  EXPECT_EQ(some.factors()[0].linear, Linear::kK);
  EXPECT_EQ(some.factors()[2].linear, Linear::kDown);
  EXPECT_EQ(some.find(0, Linear::kQ, false), nullptr);
  for (const LoraFactor& factor : some.factors()) {
    const LoraFactor& other = *full.find(factor.layer, factor.linear, factor.is_b);
    EXPECT_TRUE(std::ranges::equal(factor.values(), other.values())) << factor.name;
  }
  const std::string wrong[] = {"lm_head"};
  EXPECT_THROW(lora_targets(wrong), Error);
}

TEST(LoraAdapter, CopiesAreScaledAndRoundedOnce) {
  LoraAdapter adapter(tiny_config(), {.rank = 20, .alpha = 16}, DType::kBf16);
  randomize(adapter, cpu());
  for (const LoraFactor& factor : adapter.factors()) {
    for (std::size_t i = 0; i < factor.values().size(); ++i) {
      const float expected = factor.is_b ? 0.8f * factor.values()[i] : factor.values()[i];
      ASSERT_EQ(factor.copy.data<Bf16>()[i].bits, to_bf16(expected).bits) << factor.name;
    }
  }
}

TEST(LoraAdapter, GradientsAreZeroed) {
  LoraAdapter adapter(tiny_config(), {.rank = 4, .alpha = 16}, DType::kF32);
  for (LoraFactor& factor : adapter.factors()) factor.gradients()[1] = 3.0f;
  adapter.zero_gradients(cpu());
  for (const LoraFactor& factor : adapter.factors()) EXPECT_EQ(factor.gradients()[1], 0.0f);
}

}  // namespace
}  // namespace shori
