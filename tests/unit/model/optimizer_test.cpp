#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "shori/optim/adamw8bit.h"
#include "shori/optim/lr_schedule.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

// Values of transformers 5.17.0: get_scheduler(name, SGD(lr = 7.25e-5), num_warmup_steps, num_training_steps).
TEST(LrSchedule, EqualsTransformersToTheBit) {
  struct Golden {
    LrShape shape;
    std::int64_t warmup;
    std::vector<double> rates;
  };
  const Golden goldens[] = {
      {LrShape::kConstant,
       3,
       {0x1.30164840e171ap-14, 0x1.30164840e171ap-14, 0x1.30164840e171ap-14, 0x1.30164840e171ap-14}},
      {LrShape::kLinear,
       3,
       {0.0, 0x1.95730b012c978p-16, 0x1.95730b012c978p-15, 0x1.30164840e171ap-14, 0x1.04a56280c13cdp-14,
        0x1.b268f98142101p-15, 0x1.5b872e0101a67p-15, 0x1.04a56280c13cdp-15, 0x1.5b872e0101a67p-16,
        0x1.5b872e0101a67p-17}},
      {LrShape::kCosine,
       3,
       {0.0, 0x1.95730b012c978p-16, 0x1.95730b012c978p-15, 0x1.30164840e171ap-14, 0x1.2107adf45f989p-14,
        0x1.edaea5344c548p-15, 0x1.73c0b5acdf4dbp-15, 0x1.d8d7b5a9c72b1p-16, 0x1.c9f7ad35da3b4p-17,
        0x1.e1d349903b21dp-19}},
      {LrShape::kLinear,
       0,
       {0x1.30164840e171ap-14, 0x1.c8216c61522a7p-15, 0x1.30164840e171ap-15, 0x1.30164840e171ap-16}},
      {LrShape::kCosine,
       0,
       {0x1.30164840e171ap-14, 0x1.038df54962d72p-14, 0x1.30164840e171ap-15, 0x1.644297bbf4d3ep-17}}};
  for (const Golden& golden : goldens) {
    const LrSchedule schedule{golden.shape, 7.25e-5, golden.warmup, std::ssize(golden.rates)};
    for (std::size_t i = 0; i < golden.rates.size(); ++i) {
      EXPECT_EQ(learning_rate_at(schedule, static_cast<std::int64_t>(i) + 1), golden.rates[i]) << i;
    }
  }
}

TEST(LrSchedule, IsZeroAfterTheEnd) {
  EXPECT_EQ(learning_rate_at({LrShape::kLinear, 1.0, 2, 5}, 9), 0.0);
  EXPECT_EQ(learning_rate_at({LrShape::kLinear, 1.0, 7, 5}, 6), 5.0 / 7);
}

// q_proj of rank 80 has 5,120 elements, k_proj's B 2,560: both kinds of state.
LoraSettings mixed_settings() {
  return {.rank = 80, .alpha = 16, .targets = {true, true, false, false, false, false, false}};
}

void set_gradients(LoraAdapter& adapter, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.01f);
  for (LoraFactor& factor : adapter.factors()) {
    for (float& value : factor.gradients()) value = normal(random);
  }
}

TEST(AdamW8bit, NamesAndShapesOfItsState) {
  LoraAdapter adapter(tiny_config(), mixed_settings(), DType::kBf16);
  AdamW8bit optimizer(adapter, {});
  const std::vector<NamedArray> arrays = optimizer.arrays();
  // 8 factors: 2 a layer with fewer than 4,096 elements (k_proj B) or not.
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const std::string k = "base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight";
  const auto find = [&](const std::string& name) {
    const auto found = std::ranges::find(arrays, name, &NamedArray::name);
    EXPECT_NE(found, arrays.end()) << name;
    return *found;
  };
  EXPECT_EQ(find("adam.m." + q).shape, (std::vector<std::int64_t>{80, 64}));
  EXPECT_EQ(find("adam.v." + q).bytes(), 5120u);
  EXPECT_EQ(find("adam.v." + q).dtype, FileDType::kU8);
  EXPECT_EQ(find("adam.m_absmax." + q).shape, (std::vector<std::int64_t>{20}));
  EXPECT_EQ(find("adam.v_absmax." + q).bytes(), 80u);
  EXPECT_EQ(find("adam.m32." + k).shape, (std::vector<std::int64_t>{32, 80}));
  EXPECT_EQ(find("adam.v32." + k).dtype, FileDType::kF32);
  EXPECT_EQ(arrays.size(), 6u * 4 + 2 * 2);
  const auto is_f32 = [](const NamedArray& array) { return array.dtype == FileDType::kF32; };
  EXPECT_TRUE(std::ranges::is_partitioned(arrays, is_f32)) << "all F32 come first";
}

TEST(AdamW8bit, FirstStepFollowsTheFormula) {
  LoraAdapter adapter(tiny_config(), mixed_settings(), DType::kBf16);
  randomize(adapter, cpu());
  set_gradients(adapter, 1);
  AdamW8bit optimizer(adapter, {.weight_decay = 0.05});
  std::vector<std::vector<float>> before;
  for (const LoraFactor& factor : adapter.factors())
    before.emplace_back(factor.values().begin(), factor.values().end());
  const double rate = 1e-3, scale = 0.5;
  const AdamReport report = optimizer.step(cpu(), rate, scale);
  EXPECT_EQ(optimizer.step_count(), 1u);
  double most = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const LoraFactor& factor = adapter.factors()[i];
    for (std::size_t j = 0; j < before[i].size(); ++j) {
      const double gradient = scale * factor.gradients()[j];
      const double update = rate * gradient / (std::fabs(gradient) + 1e-8);
      most = std::max(most, std::fabs(update));
      ASSERT_NEAR(factor.values()[j], (before[i][j] - update) * (1 - rate * 0.05), 1e-6) << factor.name;
      ASSERT_EQ(factor.copy.data<Bf16>()[j].bits, to_bf16(factor.copy_scale * factor.values()[j]).bits);
    }
  }
  EXPECT_NEAR(report.update_max, most, 1e-6);
}

TEST(AdamW8bit, StateRestoredFromItsArraysContinuesToTheBit) {
  const auto run = [](LoraAdapter& adapter, AdamW8bit& optimizer, unsigned first, unsigned last) {
    for (unsigned step = first; step <= last; ++step) {
      set_gradients(adapter, step);
      optimizer.step(cpu(), 1e-3, 1.0);
    }
  };
  LoraAdapter a(tiny_config(), mixed_settings(), DType::kF32), b(tiny_config(), mixed_settings(), DType::kF32);
  randomize(a, cpu());
  AdamW8bit through(a, {.weight_decay = 0.05}), resumed(b, {.weight_decay = 0.05});
  run(a, through, 1, 3);
  const auto from = through.arrays(), to = resumed.arrays();
  ASSERT_EQ(from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) std::memcpy(to[i].data, from[i].data, from[i].bytes());
  resumed.set_step_count(through.step_count());
  for (std::size_t i = 0; i < a.factors().size(); ++i)
    std::ranges::copy(a.factors()[i].values(), b.factors()[i].values().begin());
  run(a, through, 4, 6);
  run(b, resumed, 4, 6);
  for (std::size_t i = 0; i < a.factors().size(); ++i) {
    EXPECT_TRUE(std::ranges::equal(a.factors()[i].values(), b.factors()[i].values()));
  }
  for (std::size_t i = 0; i < from.size(); ++i)
    EXPECT_EQ(std::memcmp(to[i].data, from[i].data, from[i].bytes()), 0) << from[i].name;
}

TEST(AdamW8bit, BlockSizeSetsTheNumberOfScales) {
  LoraAdapter adapter(tiny_config(), mixed_settings(), DType::kF32);
  AdamW8bit optimizer(adapter, {.block_size = 2048});
  for (const NamedArray& array : optimizer.arrays()) {
    if (array.name.starts_with("adam.m_absmax.") && array.name.ends_with("q_proj.lora_A.weight")) {
      EXPECT_EQ(array.shape.front(), 3);
    }
  }
}

}  // namespace
}  // namespace shori
