// Ops that add the LoRA part of an input's gradient while they read it, on the device against the CPU version.
#include <optional>

#include "shori/ops/attention.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/swiglu.h"
#include "tests/support/device_group.h"

namespace shori {
namespace {

using testing::bf16_ulps;
using testing::DeviceTest;
using testing::floats;
using testing::normal_bf16;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinModule;

using InputGradientDevice = DeviceTest;

struct Shape {
  std::int64_t rows, cols, rank;
  std::vector<TwinModule> modules;
  float probability;
};

DropoutKey key_of(const Shape& shape) {
  return {.seed = 0x1234567890abcdef,
          .step = 3,
          .micro_batch = 1,
          .layer = 5,
          .first_token = 4096,
          .probability = shape.probability};
}

std::size_t count_of(std::int64_t rows, std::int64_t cols) { return static_cast<std::size_t>(rows * cols); }

// [dx | dxA] with dxA of about the size that a product gives.
TwinMatrix<Bf16> extended(const Shape& shape, const LinearGroup& group, std::uint32_t seed) {
  const std::int64_t cols = shape.cols + group.lora_columns();
  return TwinMatrix<Bf16>(shape.rows, cols, normal_bf16(count_of(shape.rows, cols), seed));
}

std::optional<LoraInputGradient> lora_of(const LinearGroup& group, const DropoutKey& key) {
  if (group.lora_count() == 0) return std::nullopt;
  return LoraInputGradient{&group, key};
}

// Sums run in another order (fp32), results are rounded once: a value near a tie may take the other neighbour, and
// where parts cancel an ulp of the result is smaller than the rounding of its parts. So the L2 error is bounded, far
// below the 0.17 % that one bf16 rounding of every element would cost.
void expect_close(const std::vector<Bf16>& got, const std::vector<Bf16>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  ASSERT_LT(relative_error(floats(got), floats(wanted)), 5e-4);
}

const std::vector<Shape> kShapes = {
    {1, 8, 20, {{0, 16}}, 0.0f},
    {15, 264, 20, {{0, 16}, {1, 8}, {2, 8}}, 0.1f},
    {9, 2056, 7, {{4, 16}, {5, 16, false}}, 0.1f},
    {17, 4096, 20, {{0, 16}, {1, 8}, {2, 8}}, 0.1f},
    {8, 4104, 20, {{4, 16}, {5, 16}}, 0.1f},
    {3, 8200, 64, {{6, 16}}, 0.5f},
    {2, 520, 20, {{6, 16, false}}, 0.1f},
};

TEST_F(InputGradientDevice, RmsNormBackwardMatchesCpu) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.cols));
    const TwinGroup group(shape.cols, shape.rank, shape.modules, DType::kBf16, 1);
    TwinMatrix<Bf16> dy = extended(shape, group.host(), 2);
    const std::size_t count = count_of(shape.rows, shape.cols);
    TwinMatrix<Bf16> h(shape.rows, shape.cols, normal_bf16(count, 3)),
        weight(1, shape.cols, normal_bf16(static_cast<std::size_t>(shape.cols), 4)),
        residual(shape.rows, shape.cols, normal_bf16(count, 5)), dh(shape.rows, shape.cols, std::vector<Bf16>(count));
    const DropoutKey key = key_of(shape);
    rms_norm_backward(cpu(), h.host(), weight.host(), 1e-5f, dy.host(), lora_of(group.host(), key), residual.host(),
                      dh.host());
    std::optional<std::vector<Bf16>> first;
    for_each_schedule([&] {
      rms_norm_backward(device(), h.device(), weight.device(), 1e-5f, dy.device(), lora_of(group.device(), key),
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
  rms_norm_backward(cpu(), h.host(), weight.host(), 1e-5f, dy.host(), std::nullopt, dh.host(), dh.host());
  rms_norm_backward(device(), h.device(), weight.device(), 1e-5f, dy.device(), std::nullopt, dh.device(), dh.device());
  expect_close(dh.device_values(), dh.host_values());
  rms_norm_backward(cpu(), h.host(), weight.host(), 1e-5f, dy.host(), std::nullopt, std::nullopt, dh.host());
  rms_norm_backward(device(), h.device(), weight.device(), 1e-5f, dy.device(), std::nullopt, std::nullopt, dh.device());
  expect_close(dh.device_values(), dh.host_values());
}

TEST_F(InputGradientDevice, SwigluBackwardMatchesCpu) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.cols));
    const TwinGroup group(shape.cols, shape.rank, shape.modules, DType::kBf16, 1);
    TwinMatrix<Bf16> dp = extended(shape, group.host(), 2);
    const DropoutKey key = key_of(shape);
    const std::vector<Bf16> start = normal_bf16(count_of(shape.rows, 2 * shape.cols), 3);
    TwinMatrix<Bf16> wanted(shape.rows, 2 * shape.cols, start);
    swiglu_backward(cpu(), dp.host(), lora_of(group.host(), key), wanted.host());
    for_each_schedule([&] {
      TwinMatrix<Bf16> gate_up(shape.rows, 2 * shape.cols, start);
      swiglu_backward(device(), dp.device(), lora_of(group.device(), key), gate_up.device());
      expect_close(gate_up.device_values(), wanted.host_values());
    });
  }
}

// With dx = 0, dxA = 1 and A = 1 in one module, the gradient's element is rank * scale where the mask keeps it, else an
// exact zero: one wrong bit of the mask shows.
TEST_F(InputGradientDevice, MasksAreThoseOfTheCpuToTheBit) {
  const Shape shape{11, 1032, 4, {{0, 16}, {1, 8}, {2, 8}}, 0.1f};
  const TwinGroup group(shape.cols, shape.rank, shape.modules, DType::kBf16, 1);
  const std::int64_t extended_cols = shape.cols + group.host().lora_columns();
  std::vector<Bf16> ones(count_of(shape.rank, shape.cols), to_bf16(1.0f));
  const TwinMatrix<Bf16> unused(1, 8, std::vector<Bf16>(8));
  for (int slot = 0; slot < 3; ++slot) {
    TwinMatrix<Bf16> factor(shape.rank, shape.cols, ones);
    std::vector<LinearModule> host_modules(group.host().modules.begin(), group.host().modules.end());
    std::vector<LinearModule> device_modules(group.device().modules.begin(), group.device().modules.end());
    for (int i = 0; i < 3; ++i) {
      host_modules[static_cast<std::size_t>(i)].a = factor.host().data;
      device_modules[static_cast<std::size_t>(i)].a = factor.device().data;
    }
    const LinearGroup on_host{host_modules, shape.rank, 0.8f}, on_device{device_modules, shape.rank, 0.8f};
    std::vector<Bf16> values(count_of(shape.rows, extended_cols));
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t r = 0; r < shape.rank; ++r) {
        values[static_cast<std::size_t>(row * extended_cols + shape.cols + slot * shape.rank + r)] = to_bf16(1.0f);
      }
    }
    TwinMatrix<Bf16> dp(shape.rows, extended_cols, values);
    // gate 0, up 1: dgate = dp / 2, dup = 0.
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
    ASSERT_NEAR(static_cast<double>(dropped), 0.1 * count, 5 * std::sqrt(0.09 * count));
  }
}

TEST_F(InputGradientDevice, AttentionMatchesCpu) {
  const AttentionShape attention_shape{.heads = 4, .kv_heads = 2, .head_dim = 16};
  const std::vector<std::int32_t> lengths = {0, 1, 64, 80};
  const testing::DeviceArray<std::int32_t> on_device(lengths);
  const Int32Array cu(lengths), device_cu(lengths, on_device.get());
  const Shape shape{80, 64, 20, {{3, 16}}, 0.1f};
  const TwinGroup group(shape.cols, shape.rank, shape.modules, DType::kBf16, 1);
  const std::int64_t qkv_cols = 128;
  TwinMatrix<Bf16> qkv(shape.rows, qkv_cols, normal_bf16(count_of(shape.rows, qkv_cols), 2));
  TwinMatrix<Bf16> out(shape.rows, shape.cols, std::vector<Bf16>(count_of(shape.rows, shape.cols + 32)),
                       shape.cols + 32);
  TwinMatrix<float> lse(4, shape.rows, std::vector<float>(count_of(4, shape.rows)));
  TwinMatrix<Bf16> dout = extended(shape, group.host(), 3);
  TwinMatrix<Bf16> dqkv(shape.rows, qkv_cols, std::vector<Bf16>(count_of(shape.rows, qkv_cols)));
  const DropoutKey key = key_of(shape);
  attention(cpu(), attention_shape, qkv.host(), cu, out.host(), lse.host());
  attention_backward(cpu(), attention_shape, qkv.host(), cu, out.host(), lse.host(), dout.host(),
                     lora_of(group.host(), key), dqkv.host());
  const OpContext context = device();
  attention(context, attention_shape, qkv.device(), device_cu, out.device(), lse.device());
  attention_backward(context, attention_shape, qkv.device(), device_cu, out.device(), lse.device(), dout.device(),
                     lora_of(group.device(), key), dqkv.device());
  expect_close(out.device_values(), out.host_values());
  ASSERT_LT(relative_error(lse.device_values(), lse.host_values()), 1e-3);
  // The output's gradient is rounded to bf16 once more before the library reads it.
  ASSERT_LT(relative_error(floats(dqkv.device_values()), floats(dqkv.host_values())), 4e-3);
  check_device_attention(context, attention_shape);
}

}  // namespace
}  // namespace shori
