// Ops that add the LoRA part of an input's gradient while they read it, on the device against the CPU version.
#include <optional>

#include "shori/ops/lora_grad.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/swiglu.h"
#include "shori/util/math.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::bf16_ulps;
using testing::DeviceTest;
using testing::floats;
using testing::normal_bf16;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using InputGradientDevice = DeviceTest;

struct Case {
  const char* why;
  std::int64_t rows, cols, rank;
  std::vector<ModuleShape> modules;
  float probability = 0.1f;
};

DropoutKey key_of(const Case& shape) {
  return {.seed = 0x1234567890abcdef,
          .step = 3,
          .micro_batch = 1,
          .layer = 5,
          .first_token = 4096,
          .probability = shape.probability};
}

constexpr float kEps = 1e-5f;

std::size_t count_of(std::int64_t rows, std::int64_t cols) { return static_cast<std::size_t>(rows * cols); }

// A fused gradient [dx | dxA].
TwinMatrix<Bf16> fused_gradient(const Case& shape, const LinearGroup& group, std::uint32_t seed) {
  const std::int64_t cols = group.fused_in();
  return TwinMatrix<Bf16>(shape.rows, cols, normal_bf16(count_of(shape.rows, cols), seed));
}

std::optional<LoraInputGradient> lora_of(const LinearGroup& group, const DropoutKey& key) {
  if (group.lora_count() == 0) return std::nullopt;
  return LoraInputGradient{&group, key};
}

// fp32 sums run in another order and results are rounded once, so a value near a tie may round to the other neighbour, and
// where terms cancel an ulp of the result is smaller than the rounding of the terms. The test therefore bounds the L2 error,
// far below the 0.17 % that one bf16 rounding of every element would cost.
void expect_close(const std::vector<Bf16>& got, const std::vector<Bf16>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  ASSERT_LT(relative_error(floats(got), floats(expected)), 5e-4);
}

// rms_norm_backward keeps 8 rows in registers if the columns are up to 4,096 and a multiple of 64; other rows are computed
// twice. Ranks of a multiple of 4 up to 32 have instances of their own where the group has one module, and up to 24 there.
const std::vector<Case> kCases = {
    {.why = "the fewest columns, no dropout",
     .rows = 1,
     .cols = 8,
     .rank = 20,
     .modules = {{kQ, 16}},
     .probability = 0},
    {.why = "three modules; rows that fill no block",
     .rows = 15,
     .cols = 264,
     .rank = 20,
     .modules = {{kQ, 16}, {kK, 8}, {kV, 8}}},
    {.why = "two vectors per thread; rank not a multiple of 8; a module without LoRA",
     .rows = 9,
     .cols = 2056,
     .rank = 7,
     .modules = {{kGate, 16}, {kUp, 16, kNoLora}}},
    {.why = "Mistral's hidden size; one row more than two blocks",
     .rows = 17,
     .cols = 4096,
     .rank = 20,
     .modules = {{kQ, 16}, {kK, 8}, {kV, 8}}},
    {.why = "columns past those in registers",
     .rows = 8,
     .cols = 4104,
     .rank = 20,
     .modules = {{kGate, 16}, {kUp, 16}}},
    {.why = "one pass; one module; one row more than a block; rank of two parts",
     .rows = 65,
     .cols = 320,
     .rank = 12,
     .modules = {{kDown, 16}}},
    {.why = "two passes, one of them cut; one module; rank of three parts",
     .rows = 70,
     .cols = 1088,
     .rank = 24,
     .modules = {{kDown, 16}}},
    {.why = "one module; rank of four parts", .rows = 9, .cols = 576, .rank = 32, .modules = {{kDown, 16}}},
    {.why = "two modules with a rank of four parts in registers",
     .rows = 9,
     .cols = 1024,
     .rank = 32,
     .modules = {{kGate, 16}, {kUp, 16}}},
    {.why = "columns of three blocks; the maximum rank",
     .rows = 3,
     .cols = 8200,
     .rank = 64,
     .modules = {{kDown, 16}},
     .probability = 0.5f},
    {.why = "no LoRA", .rows = 2, .cols = 520, .rank = 20, .modules = {{kDown, 16, kNoLora}}},
};

TEST_F(InputGradientDevice, RmsNormBackwardMatchesCpu) {
  for (const Case& shape : kCases) {
    SCOPED_TRACE(shape.why);
    const TwinGroup group(shape.cols, shape.rank, shape.modules, TwinWeights::kBf16, 1);
    TwinMatrix<Bf16> dy = fused_gradient(shape, group.host(), 2);
    const std::size_t count = count_of(shape.rows, shape.cols);
    TwinMatrix<Bf16> h(shape.rows, shape.cols, normal_bf16(count, 3)),
        weight(1, shape.cols, normal_bf16(static_cast<std::size_t>(shape.cols), 4)),
        residual(shape.rows, shape.cols, normal_bf16(count, 5)), dh(shape.rows, shape.cols, std::vector<Bf16>(count));
    const DropoutKey key = key_of(shape);
    rms_norm_backward(cpu(), h.host(), weight.host(), kEps, dy.host(), lora_of(group.host(), key), residual.host(),
                      dh.host());
    std::optional<std::vector<Bf16>> first;
    for_each_schedule([&] {
      rms_norm_backward(device(), h.device(), weight.device(), kEps, dy.device(), lora_of(group.device(), key),
                        residual.device(), dh.device());
      const auto got = dh.device_values();
      expect_close(got, dh.host_values());
      if (first) {
        ASSERT_EQ(got, *first) << "depends on the schedule";
      }
      first = got;
    });
  }
}

TEST_F(InputGradientDevice, RmsNormBackwardInPlaceAndWithoutResidual) {
  const std::int64_t rows = 5, cols = 136;
  const std::size_t count = count_of(rows, cols);
  TwinMatrix<Bf16> dy(rows, cols, normal_bf16(count, 1)), h(rows, cols, normal_bf16(count, 2)),
      weight(1, cols, normal_bf16(static_cast<std::size_t>(cols), 3)), dh(rows, cols, normal_bf16(count, 4));
  rms_norm_backward(cpu(), h.host(), weight.host(), kEps, dy.host(), std::nullopt, dh.host(), dh.host());
  rms_norm_backward(device(), h.device(), weight.device(), kEps, dy.device(), std::nullopt, dh.device(), dh.device());
  expect_close(dh.device_values(), dh.host_values());
  rms_norm_backward(cpu(), h.host(), weight.host(), kEps, dy.host(), std::nullopt, std::nullopt, dh.host());
  rms_norm_backward(device(), h.device(), weight.device(), kEps, dy.device(), std::nullopt, std::nullopt, dh.device());
  expect_close(dh.device_values(), dh.host_values());
}

TEST_F(InputGradientDevice, SwigluBackwardMatchesCpu) {
  for (const Case& shape : kCases) {
    SCOPED_TRACE(shape.why);
    const TwinGroup group(shape.cols, shape.rank, shape.modules, TwinWeights::kBf16, 1);
    TwinMatrix<Bf16> dp = fused_gradient(shape, group.host(), 2);
    const DropoutKey key = key_of(shape);
    const std::vector<Bf16> start = normal_bf16(count_of(shape.rows, 2 * shape.cols), 3);
    TwinMatrix<Bf16> expected(shape.rows, 2 * shape.cols, start);
    swiglu_backward(cpu(), dp.host(), lora_of(group.host(), key), expected.host());
    std::optional<std::vector<Bf16>> first;
    for_each_schedule([&] {
      TwinMatrix<Bf16> gate_up(shape.rows, 2 * shape.cols, start);
      swiglu_backward(device(), dp.device(), lora_of(group.device(), key), gate_up.device());
      const auto got = gate_up.device_values();
      expect_close(got, expected.host_values());
      if (first) {
        ASSERT_EQ(got, *first) << "depends on the schedule";
      }
      first = got;
    });
  }
}

// Gates for which e^-gate overflows, or the sigmoid is no normal number.
TEST_F(InputGradientDevice, SwigluBackwardOfGreatGates) {
  const std::vector<float> gates = {-3e38f, -1000, -104, -89, -88,  -87.5f, -87, -20,
                                    0,      20,    87,   89,  1000, 3e38f,  -86, 1};
  std::vector<Bf16> start, ones;
  for (const float gate : gates) start.push_back(to_bf16(gate));
  for (std::size_t i = 0; i < gates.size(); ++i) start.push_back(to_bf16(2.0f));
  for (std::size_t i = 0; i < gates.size(); ++i) ones.push_back(to_bf16(1.0f));
  const auto cols = static_cast<std::int64_t>(gates.size());
  TwinMatrix<Bf16> dp(1, cols, ones), gate_up(1, 2 * cols, start);
  swiglu_backward(cpu(), dp.host(), std::nullopt, gate_up.host());
  swiglu_backward(device(), dp.device(), std::nullopt, gate_up.device());
  const auto got = floats(gate_up.device_values()), expected = floats(gate_up.host_values());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float gate = gates[i % gates.size()];
    EXPECT_NEAR(got[i], expected[i], std::max(1e-30f, 0.01f * std::fabs(expected[i]))) << "gate " << gate;
  }
}

// The masks that lora_grad_a left give the same bits as masks drawn by the op.
TEST_F(InputGradientDevice, TakesMasksThatAreGiven) {
  const Case shape{.why = "", .rows = 11, .cols = 264, .rank = 20, .modules = {{kGate, 16}, {kUp, 16}}};
  const TwinGroup group(shape.cols, shape.rank, shape.modules, TwinWeights::kBf16, 1);
  TwinMatrix<Bf16> dp = fused_gradient(shape, group.host(), 2);
  const std::int64_t bytes = group.host().mask_bytes();
  const auto gradient = [&](std::optional<ConstTensorView> kept) {
    TwinMatrix<Bf16> gate_up(shape.rows, 2 * shape.cols, normal_bf16(count_of(shape.rows, 2 * shape.cols), 3));
    swiglu_backward(device(), dp.device(), LoraInputGradient{&group.device(), key_of(shape), kept}, gate_up.device());
    return gate_up.device_values();
  };
  TwinMatrix<std::uint8_t> masks(shape.rows, bytes, std::vector<std::uint8_t>(count_of(shape.rows, bytes)));
  std::vector<std::unique_ptr<DeviceArray<float>>> factors;
  std::vector<LinearModule> modules(group.device().modules.begin(), group.device().modules.end());
  for (LinearModule& module : modules) {
    factors.push_back(std::make_unique<DeviceArray<float>>(std::vector<float>(count_of(shape.rank, shape.cols))));
    module.da = factors.back()->get();
  }
  TwinMatrix<Bf16> x = fused_gradient(shape, group.host(), 4);
  lora_grad_a(device(), {modules, shape.rank, TwinGroup::kScaling}, key_of(shape), x.device(), dp.device(),
              masks.device());
  EXPECT_EQ(gradient(masks.device()), gradient(std::nullopt));
  TwinMatrix<std::uint8_t> none(shape.rows, bytes, std::vector<std::uint8_t>(count_of(shape.rows, bytes)));
  EXPECT_NE(gradient(none.device()), gradient(std::nullopt)) << "given masks were not read";
}

// With dx = 0, and dxA = 1 and A = 1 in one module, an element of the gradient is rank * scale where the mask keeps it and
// exactly zero elsewhere, so that one wrong bit of the mask shows.
TEST_F(InputGradientDevice, MasksAreThoseOfTheCpuToTheBit) {
  const Case shape{.why = "", .rows = 11, .cols = 1032, .rank = 4, .modules = {{kQ, 16}, {kK, 8}, {kV, 8}}};
  const TwinGroup group(shape.cols, shape.rank, shape.modules, TwinWeights::kBf16, 1);
  const std::int64_t fused_cols = group.host().fused_in();
  std::vector<Bf16> ones(count_of(shape.rank, shape.cols), to_bf16(1.0f));
  for (int module = 0; module < 3; ++module) {
    TwinMatrix<Bf16> factor(shape.rank, shape.cols, ones);
    std::vector<LinearModule> host_modules(group.host().modules.begin(), group.host().modules.end());
    std::vector<LinearModule> device_modules(group.device().modules.begin(), group.device().modules.end());
    for (int i = 0; i < 3; ++i) {
      host_modules[static_cast<std::size_t>(i)].a = factor.host().data;
      device_modules[static_cast<std::size_t>(i)].a = factor.device().data;
    }
    const LinearGroup on_host{host_modules, shape.rank, TwinGroup::kScaling},
        on_device{device_modules, shape.rank, TwinGroup::kScaling};
    std::vector<Bf16> values(count_of(shape.rows, fused_cols));
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t r = 0; r < shape.rank; ++r) {
        values[static_cast<std::size_t>(row * fused_cols + shape.cols + module * shape.rank + r)] = to_bf16(1.0f);
      }
    }
    TwinMatrix<Bf16> dp(shape.rows, fused_cols, values);
    // With gate = 0 and up = 1, dgate = dp / 2 and dup = 0.
    std::vector<Bf16> start(count_of(shape.rows, 2 * shape.cols));
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t c = shape.cols; c < 2 * shape.cols; ++c) {
        start[static_cast<std::size_t>(row * 2 * shape.cols + c)] = to_bf16(1.0f);
      }
    }
    TwinMatrix<Bf16> gate_up(shape.rows, 2 * shape.cols, start);
    const DropoutKey key = key_of(shape);
    swiglu_backward(cpu(), dp.host(), LoraInputGradient{&on_host, key}, gate_up.host());
    swiglu_backward(device(), dp.device(), LoraInputGradient{&on_device, key}, gate_up.device());
    ASSERT_EQ(gate_up.device_values(), gate_up.host_values());
    std::size_t dropped = 0;
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t c = 0; c < shape.cols; ++c) {
        dropped += gate_up.host_values()[static_cast<std::size_t>(row * 2 * shape.cols + c)].bits == 0 ? 1 : 0;
      }
    }
    const double count = static_cast<double>(shape.rows * shape.cols);
    const double p = shape.probability;
    ASSERT_NEAR(static_cast<double>(dropped), p * count, 5 * std::sqrt(p * (1 - p) * count)) << "five sigma";
  }
}

}  // namespace
}  // namespace shori
