// The linears of a group on the device against the CPU version; their dequantized weights to the bit.
#include "shori/ops/nf4_linear.h"

#include <random>

#include "kernels/linear/fused_weight.h"
#include "shori/ops/device_limits.h"
#include "shori/quant/dynamic_map.h"
#include "tests/support/device_group.h"

namespace shori {
namespace {

using testing::DeviceArray;
using testing::normal_bf16;
using testing::TwinGroup;
using testing::TwinMatrix;

struct Case {
  std::int64_t tokens, in, rank;
  std::vector<testing::TwinModule> modules;
  DType weights;
  bool nested = true;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {1, 8, 4, {{3, 8, true}}, DType::kU8},
      {15, 64, 20, {{0, 128, true}, {1, 64, true}, {2, 64, true}}, DType::kU8},
      {63, 72, 20, {{4, 200, true}, {5, 200, false}}, DType::kU8},
      {64, 192, 8, {{0, 64, false}, {1, 32, true}, {2, 32, true}}, DType::kU8},
      {65, 2056, 20, {{6, 40, true}}, DType::kU8},
      {17, 136, 0, {{3, 24, false}}, DType::kU8},
      {15, 72, 20, {{4, 200, true}, {5, 64, true}}, DType::kU8, false},
      {9, 64, 33, {{0, 64, true}, {1, 40, true}}, DType::kBf16},
      {9, 64, 0, {{0, 64, false}, {1, 40, false}}, DType::kBf16},
      {9, 64, 0, {{3, 64, false}}, DType::kBf16},
  };
  return list;
}

class Nf4LinearDevice : public testing::DeviceTest {
 protected:
  template <class Check>
  void for_each_case(const Check& check) {
    for (std::size_t i = 0; i < cases().size(); ++i) {
      SCOPED_TRACE("case " + std::to_string(i));
      const Case& shape = cases()[i];
      check(shape, TwinGroup(shape.in, shape.rank, shape.modules, shape.weights, 10, shape.nested));
    }
  }
  // The emulator's products take nothing of the workspace, and its memory checker holds far more than a byte for each.
  static std::size_t bytes_for(const LinearGroup& group) {
    return nf4_linear_workspace_bytes(group.out(), group.in() + group.lora_columns()) -
           (device_backend() == "emulated" ? kMatmulWorkspaceBytes : 0);
  }
};

// [W | B'] as the definition has it.
std::vector<Bf16> wanted_weight(const LinearGroup& group) {
  const std::int64_t cols = group.in() + group.lora_columns();
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

std::vector<Bf16> extended_on_device(const OpContext& context, const LinearGroup& group) {
  const WorkspaceFrame frame(*context.workspace);
  const ConstTensorView view = fused_weight(context, "test", group);
  std::vector<Bf16> rows(static_cast<std::size_t>(view.rows * view.cols));
  copy_to_host(rows.data(), view.data, rows.size() * sizeof(Bf16), nullptr);
  synchronize_stream(nullptr);
  return rows;
}

TEST_F(Nf4LinearDevice, DequantizedRowsAreTheBitsOfTheDefinition) {
  for_each_case([&](const Case&, const TwinGroup& group) {
    const std::vector<Bf16> wanted = wanted_weight(group.host());
    for_each_schedule([&] {
      const std::vector<Bf16> got = extended_on_device(device(wanted.size() * sizeof(Bf16) + 256), group.device());
      ASSERT_EQ(got, wanted);
    });
  });
}

TEST_F(Nf4LinearDevice, DequantizesEveryCodeAndScale) {
  constexpr std::int64_t kRows = 40, kCols = 1032, kBlocks = (kRows * kCols + 63) / 64;
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
  const std::vector<Bf16> wanted = wanted_weight({{&module, 1}, 0, 0.0f});
  module.weight = FrozenWeight::of({layout, device_codes.get(), device_absmax.get(), device_absmax2.get(), 0.02f});
  ASSERT_EQ(extended_on_device(device(), {{&module, 1}, 0, 0.0f}), wanted);
}

// Sums of up to 2,056 products in fp32, in another order than the CPU's and rounded once: they differ where the fp32
// sum lies near a tie of bf16, far below the rounding itself (2^-9 of each value).
constexpr double kProductBound = 1e-3;

TEST_F(Nf4LinearDevice, ForwardMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group) {
    const std::int64_t in = shape.in + group.host().lora_columns(), out = group.host().out();
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
    const std::int64_t in = shape.in + group.host().lora_columns(), out = group.host().out();
    TwinMatrix<Bf16> dy(shape.tokens, out, normal_bf16(static_cast<std::size_t>(shape.tokens * out), 2));
    TwinMatrix<Bf16> dx(shape.tokens, in, std::vector<Bf16>(static_cast<std::size_t>(shape.tokens * in)));
    nf4_linear_backward(cpu(), group.host(), dy.host(), dx.host());
    nf4_linear_backward(device(bytes_for(group.host())), group.device(), dy.device(), dx.device());
    EXPECT_LE(testing::relative_error(testing::floats(dx.device_values()), testing::floats(dx.host_values())),
              kProductBound);
  });
}

TEST_F(Nf4LinearDevice, RefusesFp32) {
  const TwinGroup group(64, 0, {{3, 64, false}}, DType::kU8, 1);
  TwinMatrix<float> x(1, 64, std::vector<float>(64)), y(1, 64, std::vector<float>(64));
  EXPECT_THROW(nf4_linear(device(), group.device(), x.device(), y.device()), std::exception);
}

}  // namespace
}  // namespace shori
