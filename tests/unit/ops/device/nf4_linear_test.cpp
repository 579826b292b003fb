// The linears of a group on the device against the CPU version; their dequantized weights to the bit.
#include "shori/ops/nf4_linear.h"

#include <random>

#include "kernels/linear/fused_weight.h"
#include "shori/ops/device_limits.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/math.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::normal_bf16;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using Case = testing::LinearCase;

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {.why = "the smallest of everything", .tokens = 1, .in = 8, .rank = 4, .modules = {{kO, 8}}},
      {.why = "q k v; rows of whole quantization blocks",
       .tokens = 15,
       .in = 64,
       .rank = 20,
       .modules = {{kQ, 128}, {kK, 64}, {kV, 64}}},
      {.why = "a module without LoRA at the end; quantization blocks that cross rows",
       .tokens = 63,
       .in = 72,
       .rank = 20,
       .modules = {{kGate, 200}, {kUp, 200, kNoLora}}},
      {.why = "a module without LoRA at the start",
       .tokens = 64,
       .in = 192,
       .rank = 8,
       .modules = {{kQ, 64, kNoLora}, {kK, 32}, {kV, 32}}},
      {.why = "a row of more vectors than a thread block has threads",
       .tokens = 65,
       .in = 2056,
       .rank = 20,
       .modules = {{kDown, 40}}},
      {.why = "no LoRA", .tokens = 17, .in = 136, .rank = 0, .modules = {{kO, 24, kNoLora}}},
      {.why = "flat scales",
       .tokens = 15,
       .in = 72,
       .rank = 20,
       .modules = {{kGate, 200}, {kUp, 64}},
       .weights = TwinWeights::kNf4FlatScales},
      {.why = "bf16 weights; rank not a multiple of 8",
       .tokens = 9,
       .in = 64,
       .rank = 33,
       .modules = {{kQ, 64}, {kK, 40}},
       .weights = TwinWeights::kBf16},
      {.why = "bf16 weights of two modules without LoRA, which are still copied together",
       .tokens = 9,
       .in = 64,
       .rank = 0,
       .modules = {{kQ, 64, kNoLora}, {kK, 40, kNoLora}},
       .weights = TwinWeights::kBf16},
      {.why = "one bf16 weight without LoRA, which is used where it is",
       .tokens = 9,
       .in = 64,
       .rank = 0,
       .modules = {{kO, 64, kNoLora}},
       .weights = TwinWeights::kBf16},
  };
  return list;
}

class Nf4LinearDevice : public testing::DeviceTest {
 protected:
  template <class Check>
  void for_each_case(const Check& check) {
    for (const Case& shape : cases()) {
      SCOPED_TRACE(shape.why);
      check(shape, TwinGroup(shape.in, shape.rank, shape.modules, shape.weights, 10));
    }
  }
  // The emulator's products take no workspace, and its memory checker needs many bytes for each byte of it.
  static std::size_t bytes_for(const LinearGroup& group) {
    return nf4_linear_workspace_bytes(group.out(), group.fused_in()) -
           (device_backend() == "emulated" ? kMatmulWorkspaceBytes : 0);
  }
};

// [W | B'] by its definition.
std::vector<Bf16> expected_weight(const LinearGroup& group) {
  const std::int64_t cols = group.fused_in();
  std::vector<Bf16> rows(static_cast<std::size_t>(group.out() * cols), Bf16{0});
  Bf16* row = rows.data();
  for (const LinearModule& module : group.modules) {
    const FrozenWeight& weight = module.weight;
    for (std::int64_t i = 0; i < weight.rows; ++i, row += cols) {
      for (std::int64_t col = 0; col < weight.cols; ++col) {
        const std::int64_t element = i * weight.cols + col, block = element / kNf4BlockSize;
        if (weight.dtype == DType::kBf16) {
          row[col] = static_cast<const Bf16*>(weight.dense)[element];
          continue;
        }
        const Nf4View& nf4 = weight.nf4;
        const float scale = nf4.layout.nested ? nf4_scale(dynamic_map_signed()[nf4.absmax[block]],
                                                          nf4.absmax2[block / kNf4GroupSize], nf4.offset)
                                              : nf4.scales[block];
        const unsigned byte = nf4.codes[element / 2];
        row[col] = nf4_weight(element % 2 == 0 ? byte >> 4 : byte & 15u, scale);
      }
      for (std::int64_t k = 0; module.has_lora() && k < group.rank; ++k) {
        row[group.in() + module.lora_index * group.rank + k] =
            static_cast<const Bf16*>(module.b_scaled)[i * group.rank + k];
      }
    }
  }
  return rows;
}

std::vector<Bf16> fused_weight_on_device(const OpContext& context, const LinearGroup& group) {
  const WorkspaceFrame frame(*context.workspace);
  const ConstTensorView view = fused_weight(context, "test", group);
  std::vector<Bf16> rows(static_cast<std::size_t>(view.rows * view.cols));
  copy_to_host(rows.data(), view.data, rows.size() * sizeof(Bf16), nullptr);
  synchronize_stream(nullptr);
  return rows;
}

TEST_F(Nf4LinearDevice, DequantizedRowsAreTheBitsOfTheDefinition) {
  for_each_case([&](const Case&, const TwinGroup& group) {
    const std::vector<Bf16> expected = expected_weight(group.host());
    for_each_schedule([&] {
      const std::vector<Bf16> got =
          fused_weight_on_device(device(expected.size() * sizeof(Bf16) + 256), group.device());
      ASSERT_EQ(got, expected);
    });
  });
}

TEST_F(Nf4LinearDevice, DequantizesEveryCodeAndScale) {
  constexpr std::int64_t kRows = 40, kCols = 1032, kBlocks = ceil_div<std::int64_t>(kRows * kCols, kNf4BlockSize);
  std::mt19937 generator(5);
  std::vector<std::uint8_t> codes(kRows * kCols / 2), absmax(kBlocks);
  for (auto& byte : codes) byte = static_cast<std::uint8_t>(generator());
  for (std::size_t i = 0; i < absmax.size(); ++i) absmax[i] = static_cast<std::uint8_t>(i);
  std::vector<float> absmax2 = {1e-38f, 3e38f, 0.0f, 0.37f};
  ASSERT_GE(absmax2.size() * 256, absmax.size());
  const DeviceArray<std::uint8_t> device_codes(codes), device_absmax(absmax);
  const DeviceArray<float> device_absmax2(absmax2);
  const Nf4Layout layout{kRows, kCols};
  LinearModule module{.weight = FrozenWeight::of({layout, codes.data(), absmax.data(), absmax2.data(), 0.02f}),
                      .linear = Linear::kO};
  const std::vector<Bf16> expected = expected_weight({{&module, 1}, 0, 0.0f});
  module.weight = FrozenWeight::of({layout, device_codes.get(), device_absmax.get(), device_absmax2.get(), 0.02f});
  ASSERT_EQ(fused_weight_on_device(device(), {{&module, 1}, 0, 0.0f}), expected);
}

// fp32 sums of up to 2,056 products, in another order than the CPU's and rounded once. They differ where a sum lies near a
// tie of bf16, which is far less than the rounding itself (2^-9 of each value).
constexpr double kProductBound = 1e-3;

TEST_F(Nf4LinearDevice, ForwardMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group) {
    const std::int64_t in = group.host().fused_in(), out = group.host().out();
    TwinMatrix<Bf16> x(shape.tokens, in, normal_bf16(static_cast<std::size_t>(shape.tokens * (in + 8)), 1), in + 8);
    TwinMatrix<Bf16> y(shape.tokens, out, std::vector<Bf16>(static_cast<std::size_t>(shape.tokens * out)));
    nf4_linear(cpu(), group.host(), x.host(), y.host());
    nf4_linear(device(bytes_for(group.host())), group.device(), x.device(), y.device());
    EXPECT_LE(device_workspace().peak_bytes(), bytes_for(group.host()));
    EXPECT_LE(testing::relative_error(testing::floats(y.device_values()), testing::floats(y.host_values())),
              kProductBound);
  });
}

TEST_F(Nf4LinearDevice, BackwardMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group) {
    const std::int64_t in = group.host().fused_in(), out = group.host().out();
    TwinMatrix<Bf16> dy(shape.tokens, out, normal_bf16(static_cast<std::size_t>(shape.tokens * out), 2));
    TwinMatrix<Bf16> dx(shape.tokens, in, std::vector<Bf16>(static_cast<std::size_t>(shape.tokens * in)));
    nf4_linear_backward(cpu(), group.host(), dy.host(), dx.host());
    nf4_linear_backward(device(bytes_for(group.host())), group.device(), dy.device(), dx.device());
    EXPECT_LE(testing::relative_error(testing::floats(dx.device_values()), testing::floats(dx.host_values())),
              kProductBound);
  });
}

// The first product leaves the weights decoded, those that follow read them, and after they were forgotten they are decoded again.
TEST_F(Nf4LinearDevice, DecodedWeightsAreReadUntilTheyAreForgotten) {
  constexpr std::int64_t kTokens = 5;
  const TwinGroup twins(64, 20, {{kQ, 128}, {kK, 64}}, TwinWeights::kNf4, 10);
  LinearGroup group = twins.device();
  const std::int64_t in = group.fused_in(), out = group.out();
  TwinMatrix<Bf16> x(kTokens, in, normal_bf16(static_cast<std::size_t>(kTokens * in), 1));
  TwinMatrix<Bf16> dy(kTokens, out, normal_bf16(static_cast<std::size_t>(kTokens * out), 2));
  using Results = std::vector<std::vector<Bf16>>;
  const auto products = [&](std::size_t workspace_bytes) {
    const OpContext context = device(workspace_bytes);
    TwinMatrix<Bf16> y(kTokens, out, std::vector<Bf16>(static_cast<std::size_t>(kTokens * out)));
    TwinMatrix<Bf16> dx(kTokens, in, std::vector<Bf16>(static_cast<std::size_t>(kTokens * in)));
    nf4_linear(context, group, x.device(), y.device());
    nf4_linear_backward(context, group, dy.device(), dx.device());
    return Results{y.device_values(), dx.device_values()};
  };
  const Results wanted = products(bytes_for(twins.host()));
  const DeviceArray<Bf16> memory(static_cast<std::size_t>(out * in));
  DecodedWeight decoded{.memory = {memory.get(), DType::kBf16, out, in, in}};
  group.decoded = &decoded;
  const std::size_t least = device_backend() == "emulated" ? 0 : kMatmulWorkspaceBytes;
  EXPECT_EQ(products(least), wanted);
  EXPECT_TRUE(decoded.is_filled);
  EXPECT_EQ(products(least), wanted);
  fill_zero_on_device(memory.get(), static_cast<std::size_t>(out * in) * sizeof(Bf16), nullptr);
  for (const std::vector<Bf16>& result : products(least)) EXPECT_EQ(result, std::vector<Bf16>(result.size()));
  decoded.is_filled = false;
  EXPECT_EQ(products(least), wanted);
}

TEST_F(Nf4LinearDevice, RefusesFp32) {
  const TwinGroup group(64, 0, {{kO, 64, kNoLora}}, TwinWeights::kNf4, 1);
  TwinMatrix<float> x(1, 64, std::vector<float>(64)), y(1, 64, std::vector<float>(64));
  EXPECT_THROW(nf4_linear(device(), group.device(), x.device(), y.device()), std::exception);
}

}  // namespace
}  // namespace shori
