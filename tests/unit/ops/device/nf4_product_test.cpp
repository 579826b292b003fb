// Products that decode NF4 on their way to the tensor cores: exact where no sum rounds, and against fp64 with the error of
// dequantizing to bf16 as the bound, for both ways in which hardware may round fp16 sums.
#include "kernels/linear/nf4_product.h"

#include <cmath>

#include "kernels/linear/scale_rows_launch.h"
#include "shori/io/half.h"
#include "shori/ops/nf4_linear.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::floats;
using testing::normal_bf16;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using Case = testing::LinearCase;

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {.why = "the smallest of everything", .tokens = 1, .in = 32, .rank = 4, .modules = {{kO, 8}}},
      {.why = "a quantization block in two rows; modules that end inside a tile and inside a step",
       .tokens = 63,
       .in = 96,
       .rank = 20,
       .modules = {{kQ, 136}, {kK, 72}, {kV, 40}}},
      {.why = "a module without LoRA at the start; more LoRA columns than a step has",
       .tokens = 65,
       .in = 64,
       .rank = 40,
       .modules = {{kQ, 64, kNoLora}, {kK, 32}, {kV, 32}}},
      {.why = "two tiles of rows and two of columns; flat scales",
       .tokens = 257,
       .in = 160,
       .rank = 8,
       .modules = {{kGate, 200}, {kUp, 200, kNoLora}},
       .weights = TwinWeights::kNf4FlatScales},
      {.why = "no LoRA", .tokens = 17, .in = 128, .rank = 0, .modules = {{kO, 24, kNoLora}}},
  };
  return list;
}

// [W | B'] as fp64 without the rounding of a weight, [out, fused_in].
std::vector<double> exact_weight(const LinearGroup& group) {
  const std::int64_t cols = group.fused_in();
  std::vector<double> rows(static_cast<std::size_t>(group.out() * cols));
  double* row = rows.data();
  for (const LinearModule& module : group.modules) {
    const Nf4View& nf4 = module.weight.nf4;
    for (std::int64_t i = 0; i < module.weight.rows; ++i, row += cols) {
      for (std::int64_t col = 0; col < group.in(); ++col) {
        const std::int64_t element = i * group.in() + col;
        const unsigned byte = nf4.codes[element / 2];
        row[col] = double{nf4_level(element % 2 == 0 ? byte >> 4 : byte & 15u)} *
                   nf4_block_scale(nf4, element / kNf4BlockSize);
      }
      for (std::int64_t k = 0; module.has_lora() && k < group.rank; ++k) {
        row[group.in() + module.lora_index * group.rank + k] =
            to_float(static_cast<const Bf16*>(module.b_scaled)[i * group.rank + k]);
      }
    }
  }
  return rows;
}

// x . weight^T in fp64, or with `backward` x . weight.
std::vector<double> exact_product(ConstTensorView x, const std::vector<double>& weight, std::int64_t cols,
                                  bool backward) {
  const std::int64_t rows = static_cast<std::int64_t>(weight.size()) / cols, width = backward ? cols : rows;
  std::vector<double> result(static_cast<std::size_t>(x.rows * width));
  for (std::int64_t token = 0; token < x.rows; ++token) {
    double* out = result.data() + token * width;
    for (std::int64_t i = 0; i < rows; ++i) {
      const double* row = weight.data() + i * cols;
      for (std::int64_t j = 0; j < cols; ++j) {
        if (backward) out[j] += to_float(x.row<Bf16>(token)[i]) * row[j];
        if (!backward) out[i] += to_float(x.row<Bf16>(token)[j]) * row[j];
      }
    }
  }
  return result;
}

class Nf4ProductDevice : public testing::DeviceTest {
 protected:
  static std::size_t bytes_for(std::int64_t tokens, std::int64_t width) {
    return static_cast<std::size_t>(tokens * (width * 2 + 4) + 512);
  }

  // Against the exact product: of the kernel on the device, and of nf4_linear() on the CPU, which rounds weights to bf16.
  struct Errors {
    double kernel, dequantized;
  };
  Errors errors(const TwinGroup& group, TwinMatrix<Bf16>& from, TwinMatrix<Bf16>& to, bool backward, bool half_sums) {
    const OpContext context = device(bytes_for(from.device().rows, from.device().cols));
    if (backward) {
      nf4_product_backward(context, group.device(), half_sums, from.device(), to.device());
      nf4_linear_backward(cpu(), group.host(), from.host(), to.host());
    } else {
      nf4_product(context, group.device(), half_sums, from.device(), to.device());
      nf4_linear(cpu(), group.host(), from.host(), to.host());
    }
    const std::vector<double> exact =
        exact_product(from.host(), exact_weight(group.host()), group.host().fused_in(), backward);
    return {relative_error(floats(to.device_values()), exact), relative_error(floats(to.host_values()), exact)};
  }
};

// Values of which some columns are `factor` times larger, as activations of language models are.
std::vector<Bf16> with_outliers(std::int64_t rows, std::int64_t cols, std::int64_t stride, float factor,
                                std::uint32_t seed) {
  std::vector<Bf16> values = normal_bf16(static_cast<std::size_t>(rows * stride), seed);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t col = 7; col < cols; col += 97) {
      Bf16& value = values[static_cast<std::size_t>(row * stride + col)];
      value = to_bf16(to_float(value) * factor);
    }
  }
  return values;
}

TEST_F(Nf4ProductDevice, EveryShapeIsAsExactAsDequantizing) {
  for (const Case& shape : cases()) {
    SCOPED_TRACE(shape.why);
    const TwinGroup group(shape.in, shape.rank, shape.modules, shape.weights, 10);
    ASSERT_TRUE(nf4_product_takes(group.device()));
    const std::int64_t in = group.host().fused_in(), out = group.host().out();
    for (const bool half_sums : {true, false}) {
      if (!half_sums && shape.tokens > 64) continue;  // the emulator's time
      SCOPED_TRACE(half_sums);
      TwinMatrix<Bf16> x(shape.tokens, in, with_outliers(shape.tokens, shape.in, in + 8, 60.0f, 1), in + 8);
      TwinMatrix<Bf16> y(shape.tokens, out, std::vector<Bf16>(static_cast<std::size_t>(shape.tokens * out)));
      const Errors forward = errors(group, x, y, false, half_sums);
      EXPECT_LE(forward.kernel, 1.2 * forward.dequantized);
      TwinMatrix<Bf16> dy(shape.tokens, out, with_outliers(shape.tokens, out, out, 60.0f, 2));
      TwinMatrix<Bf16> dx(shape.tokens, in, std::vector<Bf16>(static_cast<std::size_t>(shape.tokens * in)));
      const Errors backward = errors(group, dy, dx, true, half_sums);
      EXPECT_LE(backward.kernel, 1.2 * backward.dequantized);
    }
  }
}

TEST_F(Nf4ProductDevice, SchedulesGiveTheSameBits) {
  for (const Case& shape : cases()) {
    if (shape.tokens > 64) continue;  // the emulator's time
    SCOPED_TRACE(shape.why);
    const TwinGroup group(shape.in, shape.rank, shape.modules, shape.weights, 10);
    const std::int64_t in = group.host().fused_in(), out = group.host().out();
    const auto size = [&](std::int64_t cols) { return static_cast<std::size_t>(shape.tokens * cols); };
    TwinMatrix<Bf16> x(shape.tokens, in, normal_bf16(size(in), 1));
    TwinMatrix<Bf16> dy(shape.tokens, out, normal_bf16(size(out), 2));
    std::vector<Bf16> first_y, first_dx;
    for_each_schedule([&] {
      TwinMatrix<Bf16> y(shape.tokens, out, std::vector<Bf16>(size(out)));
      TwinMatrix<Bf16> dx(shape.tokens, in, std::vector<Bf16>(size(in)));
      nf4_product(device(bytes_for(shape.tokens, in)), group.device(), true, x.device(), y.device());
      nf4_product_backward(device(bytes_for(shape.tokens, out)), group.device(), true, dy.device(), dx.device());
      if (first_y.empty()) first_y = y.device_values(), first_dx = dx.device_values();
      ASSERT_EQ(y.device_values(), first_y);
      ASSERT_EQ(dx.device_values(), first_dx);
    });
  }
}

// The order of sums and its roundings, element by element: fp32 sums of fp16 sums of 64, each of four roundings.
TEST_F(Nf4ProductDevice, LongSumsStayBelowTheErrorOfRoundedWeights) {
  constexpr std::int64_t kTokens = 24, kIn = 2048, kOut = 24;
  const TwinGroup group(kIn, 20, {{kDown, kOut}}, TwinWeights::kNf4, 3);
  const std::int64_t in = group.host().fused_in();
  for_each_sum_rounding([&] {
    TwinMatrix<Bf16> x(kTokens, in, with_outliers(kTokens, kIn, in, 60.0f, 1));
    TwinMatrix<Bf16> y(kTokens, kOut, std::vector<Bf16>(kTokens * kOut));
    const Errors found = errors(group, x, y, false, true);
    EXPECT_LE(found.kernel, found.dequantized);
  });
}

TEST_F(Nf4ProductDevice, LongGradientSumsStayBelowTheErrorOfRoundedWeights) {
  constexpr std::int64_t kTokens = 24, kIn = 32, kOut = 1984;
  const TwinGroup group(kIn, 20, {{kGate, kOut}, {kUp, 64}}, TwinWeights::kNf4, 4);
  const std::int64_t in = group.host().fused_in(), out = group.host().out();
  for_each_sum_rounding([&] {
    std::vector<Bf16> values = with_outliers(kTokens, out, out, 60.0f, 1);
    for (Bf16& value : values) value = to_bf16(to_float(value) * 1e-7f);  // gradients are small
    TwinMatrix<Bf16> dy(kTokens, out, values);
    TwinMatrix<Bf16> dx(kTokens, in, std::vector<Bf16>(static_cast<std::size_t>(kTokens * in)));
    const Errors found = errors(group, dy, dx, true, true);
    EXPECT_LE(found.kernel, found.dequantized);
  });
}

// Each part of the rows has its own launch; an element has the same bits in each.
TEST_F(Nf4ProductDevice, RowsDoNotDependOnHowManyAreMultiplied) {
  constexpr std::int64_t kTokens = 300, kIn = 64, kOut = 40;
  const TwinGroup group(kIn, 8, {{kO, kOut}}, TwinWeights::kNf4, 5);
  const std::int64_t in = group.host().fused_in();
  TwinMatrix<Bf16> x(kTokens, in, normal_bf16(static_cast<std::size_t>(kTokens * in), 1));
  TwinMatrix<Bf16> whole(kTokens, kOut, std::vector<Bf16>(kTokens * kOut));
  TwinMatrix<Bf16> parts(kTokens, kOut, std::vector<Bf16>(kTokens * kOut));
  const OpContext context = device(bytes_for(kTokens, in));
  nf4_product(context, group.device(), true, x.device(), whole.device());
  for (const auto& [first, count] : {std::pair{0, 7}, std::pair{7, 256}, std::pair{263, 37}}) {
    nf4_product(context, group.device(), true, x.device().slice_rows(first, count),
                parts.device().slice_rows(first, count));
  }
  EXPECT_EQ(parts.device_values(), whole.device_values());
}

// The weight is then no longer there for the library's product. Rows that do not fit go to the workspace.
TEST_F(Nf4ProductDevice, ScaledRowsTakeTheMemoryOfTheDecodedWeight) {
  constexpr std::int64_t kTokens = 300, kIn = 64, kOut = 272;
  const TwinGroup twins(kIn, 8, {{kO, kOut}}, TwinWeights::kNf4, 5);
  LinearGroup group = twins.device();
  const std::int64_t in = group.fused_in();
  const DeviceArray<Bf16> memory(static_cast<std::size_t>(kOut * in));
  DecodedWeight decoded{.memory = {memory.get(), DType::kBf16, kOut, in, in}};
  TwinMatrix<Bf16> x(kTokens, in, normal_bf16(static_cast<std::size_t>(kTokens * in), 1));
  TwinMatrix<Bf16> dy(kTokens, kOut, normal_bf16(static_cast<std::size_t>(kTokens * kOut), 2));
  const auto forward = [&](std::size_t workspace_bytes) {
    TwinMatrix<Bf16> y(kTokens, kOut, std::vector<Bf16>(kTokens * kOut));
    nf4_product(device(workspace_bytes), group, true, x.device(), y.device());
    return y.device_values();
  };
  const auto backward = [&] {
    TwinMatrix<Bf16> dx(kTokens, in, std::vector<Bf16>(static_cast<std::size_t>(kTokens * in)));
    nf4_product_backward(device(bytes_for(kTokens, kOut)), group, true, dy.device(), dx.device());
    return dx.device_values();
  };
  const std::vector<Bf16> y = forward(bytes_for(kTokens, in)), dx = backward();
  group.decoded = &decoded;
  decoded.is_filled = true;
  EXPECT_EQ(backward(), dx);
  EXPECT_TRUE(decoded.is_filled) << "256 rows of dy are larger than the weight";
  EXPECT_EQ(forward(0), y);
  EXPECT_FALSE(decoded.is_filled);
}

TEST_F(Nf4ProductDevice, RowsAreScaledByPowersOfTwo) {
  constexpr int kRows = 5, kCols = 40, kOther = 8, kWidth = kCols + kOther;
  std::vector<Bf16> values = normal_bf16(kRows * kWidth, 1);
  for (int col = 0; col < kWidth; ++col) {
    values[1 * kWidth + col] = Bf16{0};
    values[2 * kWidth + col] = to_bf16(to_float(values[2 * kWidth + col]) * 1e-30f);
    values[3 * kWidth + col] = to_bf16(to_float(values[3 * kWidth + col]) * 1e30f);
  }
  values[4 * kWidth + 3] = to_bf16(INFINITY);
  const DeviceArray<Bf16> from(values);
  const DeviceArray<std::uint16_t> to(kRows * kWidth);
  const DeviceArray<float> undo(kRows);
  launch_scale_rows({from.get(), to.get(), undo.get(), kWidth, kRows, kCols, kOther}, nullptr);
  const std::vector<std::uint16_t> scaled = to.to_host();
  const std::vector<float> undone = undo.to_host();
  for (const int row : {0, 2, 3}) {
    float largest = 0;
    for (int col = 0; col < kWidth; ++col) {
      const std::size_t at = row * kWidth + col;
      const float value = col < kCols ? half_to_float(scaled[at]) : to_float(Bf16{scaled[at]});
      const float back = value * undone[row], exact = to_float(values[at]);
      EXPECT_NEAR(back, exact, std::fabs(exact) * 0x1p-11f + undone[row] * 0x1p-25f) << row << ' ' << col;
      if (col < kCols) largest = std::max(largest, std::fabs(value));
    }
    EXPECT_GE(largest, 8.0f);
    EXPECT_LT(largest, 16.0f);
    EXPECT_EQ(std::exp2(std::round(std::log2(undone[row]))), undone[row]);
  }
  for (int col = 0; col < kCols; ++col) EXPECT_EQ(scaled[kWidth + col], 0);
  EXPECT_EQ(half_to_float(scaled[4 * kWidth + 3]), INFINITY);
}

// 64 * 16 * absmax is beyond fp16: infinite, never a wrong finite number.
TEST_F(Nf4ProductDevice, OverflowIsNotFinite) {
  constexpr std::int64_t kIn = 64, kOut = 8;
  std::vector<std::uint8_t> codes(kIn * kOut / 2, 0xff);  // every weight is its absmax
  const DeviceArray<std::uint8_t> device_codes(codes);
  for (const bool overflows : {false, true}) {
    const DeviceArray<float> scales(std::vector<float>(kOut, overflows ? 64.5f : 63.5f));
    LinearModule module{
        .weight = FrozenWeight::of({.layout = {kOut, kIn, false}, .codes = device_codes.get(), .scales = scales.get()}),
        .linear = Linear::kO};
    TwinMatrix<Bf16> x(1, kIn, std::vector<Bf16>(kIn, to_bf16(15.9375f)));
    TwinMatrix<Bf16> y(1, kOut, std::vector<Bf16>(kOut));
    nf4_product(device(bytes_for(1, kIn)), {{&module, 1}, 0, 0.0f}, true, x.device(), y.device());
    for (const Bf16 value : y.device_values()) EXPECT_EQ(std::isinf(to_float(value)), overflows) << to_float(value);
  }
}

TEST_F(Nf4ProductDevice, LeavesOtherShapesToTheLibrary) {
  EXPECT_FALSE(nf4_product_takes(TwinGroup(40, 4, {{kO, 8}}, TwinWeights::kNf4, 1).device()));
  EXPECT_FALSE(nf4_product_takes(TwinGroup(64, 4, {{kO, 8}}, TwinWeights::kBf16, 1).device()));
}

}  // namespace
}  // namespace shori
