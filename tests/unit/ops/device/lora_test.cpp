// xA and the gradients of LoRA factors on the device against the CPU versions.
#include <functional>
#include <string>

#include "kernels/cpu/rows.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/util/text.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::floats;
using testing::normal_bf16;
using testing::normal_values;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

struct Case {
  const char* why;
  std::int64_t tokens, in, rank;
  std::vector<ModuleShape> modules;
  float probability = 0.1f;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {.why = "the smallest of everything", .tokens = 1, .in = 8, .rank = 1, .modules = {{kO, 8}}},
      {.why = "q k v; less than one tile of tokens; LoRA columns that begin inside a group of 8",
       .tokens = 15,
       .in = 64,
       .rank = 20,
       .modules = {{kQ, 136}, {kK, 64}, {kV, 64}}},
      {.why = "a module without LoRA at the end; a cut last chunk of columns",
       .tokens = 63,
       .in = 72,
       .rank = 20,
       .modules = {{kGate, 200}, {kUp, 200, kNoLora}}},
      {.why = "a module without LoRA at the start; one whole tile of tokens; rank of one vector",
       .tokens = 64,
       .in = 200,
       .rank = 8,
       .modules = {{kQ, 64, kNoLora}, {kK, 32}, {kV, 32}}},
      {.why = "no dropout; one token more than a tile; one column vector more than four chunks",
       .tokens = 65,
       .in = 264,
       .rank = 20,
       .modules = {{kDown, 40}},
       .probability = 0.0f},
      {.why = "rank one more than the tiles for 32",
       .tokens = 130,
       .in = 136,
       .rank = 33,
       .modules = {{kGate, 24}, {kUp, 136}}},
      {.why = "every second value dropped; odd rank with three modules",
       .tokens = 70,
       .in = 136,
       .rank = 17,
       .modules = {{kQ, 24}, {kK, 8}, {kV, 16}},
       .probability = 0.5f},
      {.why = "rank one less than the maximum, three modules",
       .tokens = 33,
       .in = 72,
       .rank = 63,
       .modules = {{kQ, 24}, {kK, 8}, {kV, 16}}},
      {.why = "48 KiB of dynamic shared memory beside the static part",
       .tokens = 33,
       .in = 72,
       .rank = 40,
       .modules = {{kQ, 24}, {kK, 8}, {kV, 16}}},
      {.why = "the maximum rank", .tokens = 40, .in = 72, .rank = 64, .modules = {{kGate, 24}, {kUp, 8}}},
      {.why = "one token less than a slab; a module without LoRA in the middle",
       .tokens = 1023,
       .in = 16,
       .rank = 5,
       .modules = {{kQ, 8}, {kK, 8, kNoLora}, {kV, 8}}},
      {.why = "one token more than a slab; rank not a multiple of 8",
       .tokens = 1025,
       .in = 72,
       .rank = 30,
       .modules = {{kGate, 24}, {kUp, 136}}},
  };
  return list;
}

DropoutKey key_of(float probability) {
  return {.seed = 0x123456789abcdef0u,
          .step = 7,
          .micro_batch = 3,
          .layer = 31,
          .first_token = 5,
          .probability = probability};
}

constexpr std::int64_t kGap = 8;  // elements between rows, which no op may touch

TwinMatrix<Bf16> rows_of(std::int64_t tokens, std::int64_t cols, std::uint32_t seed) {
  return {tokens, cols, normal_bf16(static_cast<std::size_t>(tokens * (cols + kGap)), seed), cols + kGap};
}

enum class Factor { kA, kB };
using Gradients = std::vector<std::vector<float>>;  // by lora_index
using Run = std::function<void(const LinearGroup&)>;

std::size_t size_of(const LinearGroup& group, const LinearModule& module, Factor factor) {
  return static_cast<std::size_t>(group.rank * (factor == Factor::kA ? group.in() : module.weight.rows));
}

// What the gradients hold before the op, which adds to them: anything but zero.
Gradients start_of(const LinearGroup& group, Factor factor) {
  Gradients start(static_cast<std::size_t>(group.lora_count()));
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    start[static_cast<std::size_t>(module.lora_index)] =
        normal_values(size_of(group, module, factor), 100 + static_cast<std::uint32_t>(module.lora_index));
  }
  return start;
}

void run_with(const LinearGroup& group, Factor factor, const std::vector<float*>& memory, const Run& run) {
  std::vector<LinearModule> modules(group.modules.begin(), group.modules.end());
  for (LinearModule& module : modules) {
    if (!module.has_lora()) continue;
    (factor == Factor::kA ? module.da : module.db) = memory[static_cast<std::size_t>(module.lora_index)];
  }
  run({modules, group.rank, group.scaling});
}

Gradients gradients_on_cpu(const LinearGroup& group, Factor factor, const Run& run) {
  Gradients values = start_of(group, factor);
  std::vector<float*> memory;
  for (auto& gradient : values) memory.push_back(gradient.data());
  run_with(group, factor, memory, run);
  return values;
}

Gradients gradients_on_device(const LinearGroup& group, Factor factor, const Run& run) {
  std::vector<std::unique_ptr<DeviceArray<float>>> arrays;
  std::vector<float*> memory;
  for (const auto& start : start_of(group, factor)) {
    arrays.push_back(std::make_unique<DeviceArray<float>>(start));
    memory.push_back(arrays.back()->get());
  }
  run_with(group, factor, memory, run);
  Gradients values;
  for (const auto& array : arrays) values.push_back(array->to_host());
  return values;
}

// A factor with which every sum over an input of ones is exact in fp32, whatever the order, and shows each bit of the mask:
// row j of A holds different powers of two at columns j, j + rank, j + 2 * rank, ..., and zeros elsewhere.
std::vector<Bf16> powers_by_column(std::int64_t rank, std::int64_t in) {
  std::vector<Bf16> factor(static_cast<std::size_t>(rank * in), Bf16{0});
  for (std::int64_t col = 0; col < in; ++col) {
    factor[static_cast<std::size_t>(col % rank * in + col)] = to_bf16(std::ldexp(1.0f, static_cast<int>(col / rank)));
  }
  return factor;
}

class LoraDevice : public testing::DeviceTest {
 protected:
  template <class Check>
  void for_each_case(const Check& check) {
    for (const Case& shape : cases()) {
      SCOPED_TRACE(shape.why);
      check(shape, TwinGroup(shape.in, shape.rank, shape.modules, TwinWeights::kBf16, 10), key_of(shape.probability));
    }
  }
  std::size_t bytes_for(const LinearGroup& group, std::int64_t tokens, Factor factor) {
    std::int64_t columns = 0;
    for (const LinearModule& module : group.modules) {
      if (module.has_lora()) columns += factor == Factor::kA ? group.in() : module.weight.rows;
    }
    return lora_grad_workspace_bytes(tokens, columns, group.rank);
  }
};

TEST_F(LoraDevice, DownMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey& key) {
    const std::int64_t cols = group.host().fused_in();
    TwinMatrix<Bf16> expected = rows_of(shape.tokens, cols, 1);
    lora_down(cpu(), group.host(), key, expected.host());
    for_each_schedule([&] {
      TwinMatrix<Bf16> x = rows_of(shape.tokens, cols, 1);
      const std::size_t bytes = lora_down_workspace_bytes(shape.tokens, group.host().lora_count(), shape.rank);
      lora_down(device(bytes), group.device(), key, x.device());
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      const auto got = x.device_values();
      std::vector<float> got_xa, expected_xa;
      for (std::size_t i = 0; i < got.size(); ++i) {
        const auto column = static_cast<std::int64_t>(i) % (cols + kGap);
        if (column >= shape.in && column < shape.in + group.host().lora_count() * shape.rank) {
          got_xa.push_back(to_float(got[i]));
          expected_xa.push_back(to_float(expected.host_values()[i]));
        } else {
          ASSERT_EQ(got[i], expected.host_values()[i]) << "x, the zeros after xA or the gap after a row, at " << i;
        }
      }
      // The fp32 sums have another order and are rounded once, so they differ where one lies near a tie of bf16.
      ASSERT_LE(relative_error(got_xa, expected_xa), 1e-3);
    });
  });
}

TEST_F(LoraDevice, GradientOfAMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey& key) {
    const std::int64_t cols = group.host().fused_in();
    TwinMatrix<Bf16> x = rows_of(shape.tokens, cols, 1), dx = rows_of(shape.tokens, cols, 2);
    const Gradients expected = gradients_on_cpu(group.host(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(cpu(), linears, key, x.host(), dx.host());
    });
    const std::size_t bytes = bytes_for(group.host(), shape.tokens, Factor::kA);
    for_each_schedule([&] {
      const Gradients got = gradients_on_device(group.device(), Factor::kA, [&](const LinearGroup& linears) {
        lora_grad_a(device(bytes), linears, key, x.device(), dx.device());
      });
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      // fp32 sums of up to 1,024 products in another order, which tensor cores truncate while they add. Nothing is rounded
      // to bf16.
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_LE(relative_error(got[i], expected[i]), 2e-5) << "module " << i;
    });
  });
}

TEST_F(LoraDevice, GradientOfBMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey&) {
    TwinMatrix<Bf16> x = rows_of(shape.tokens, group.host().fused_in(), 1);
    TwinMatrix<Bf16> dy = rows_of(shape.tokens, group.host().out(), 2);
    const Gradients expected = gradients_on_cpu(group.host(), Factor::kB, [&](const LinearGroup& linears) {
      lora_grad_b(cpu(), linears, x.host(), dy.host());
    });
    const std::size_t bytes = bytes_for(group.host(), shape.tokens, Factor::kB);
    for_each_schedule([&] {
      const Gradients got = gradients_on_device(group.device(), Factor::kB, [&](const LinearGroup& linears) {
        lora_grad_b(device(bytes), linears, x.device(), dy.device());
      });
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      // As for A.
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_LE(relative_error(got[i], expected[i]), 2e-5) << "module " << i;
    });
  });
}

TEST_F(LoraDevice, DownHasTheMasksOfTheCpuToTheBit) {
  constexpr std::int64_t kTokens = 70, kIn = 136, kRank = 20;
  const TwinGroup twins(kIn, kRank, {{kQ, 8}, {kK, 8}, {kV, 8}}, TwinWeights::kBf16, 1);
  TwinMatrix<Bf16> factor(kRank, kIn, powers_by_column(kRank, kIn));
  const auto with_factor = [&](const LinearGroup& group, const void* a) {
    std::vector<LinearModule> modules(group.modules.begin(), group.modules.end());
    for (LinearModule& module : modules) module.a = a;
    return modules;
  };
  const auto host = with_factor(twins.host(), factor.host().data);
  const auto on_device = with_factor(twins.device(), factor.device().data);
  const LinearGroup group{host, kRank, 1.0f};
  const std::vector<Bf16> ones(static_cast<std::size_t>(kTokens * group.fused_in()), to_bf16(1.0f));
  for (const float probability : {0.0f, 0.1f, 0.5f}) {
    SCOPED_TRACE(probability);
    TwinMatrix<Bf16> expected(kTokens, group.fused_in(), ones), x(kTokens, group.fused_in(), ones);
    lora_down(cpu(), group, key_of(probability), expected.host());
    lora_down(device(), {on_device, kRank, 1.0f}, key_of(probability), x.device());
    ASSERT_EQ(x.device_values(), expected.host_values());
    if (probability > 0) continue;
    for (std::int64_t j = 0; j < kRank; ++j) {  // nothing is dropped, so the sum has all powers of the row
      const float sum = std::ldexp(1.0f, static_cast<int>((kIn - j + kRank - 1) / kRank)) - 1;
      ASSERT_EQ(to_float(x.device_values()[static_cast<std::size_t>(kIn + j)]), sum);
    }
  }
}

TEST_F(LoraDevice, GradientOfAHasTheMasksOfTheCpuToTheBit) {
  constexpr std::int64_t kTokens = 400, kIn = 136,
                         kRank = 20;  // 20 powers of two per row of A, which fp32 sums exactly
  const TwinGroup twins(kIn, kRank, {{kQ, 8}, {kK, 8}, {kV, 8}}, TwinWeights::kBf16, 1);
  const std::int64_t cols = twins.host().fused_in();
  std::vector<Bf16> gradient(static_cast<std::size_t>(kTokens * cols), Bf16{0});
  for (std::int64_t token = 0; token < kTokens; ++token) {
    for (std::int64_t module = 0; module < 3; ++module) {
      gradient[static_cast<std::size_t>(token * cols + kIn + module * kRank + token % kRank)] =
          to_bf16(std::ldexp(1.0f, static_cast<int>(token / kRank)));
    }
  }
  TwinMatrix<Bf16> dx(kTokens, cols, gradient);
  TwinMatrix<Bf16> x(kTokens, cols, std::vector<Bf16>(gradient.size(), to_bf16(1.0f)));
  for (const float probability : {0.0f, 0.1f, 0.5f}) {
    SCOPED_TRACE(probability);
    const DropoutKey key = key_of(probability);
    const Gradients expected = gradients_on_cpu(twins.host(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(cpu(), linears, key, x.host(), dx.host());
    });
    const Gradients got = gradients_on_device(twins.device(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(device(), linears, key, x.device(), dx.device());
    });
    ASSERT_EQ(got, expected);
    if (probability > 0) continue;
    const Gradients start = start_of(twins.host(), Factor::kA);
    for (std::size_t i = 0; i < start[0].size(); ++i) ASSERT_EQ(got[0][i], start[0][i] + (std::ldexp(1.0f, 20) - 1));
  }
}

// What lora_grad_a leaves for the ops that complete the gradient of the input: kept_byte() of the mask on the CPU.
TEST_F(LoraDevice, GradientOfALeavesTheMasksOfTheCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey& key) {
    if (shape.probability == 0) return;
    const std::int64_t cols = group.host().fused_in(), bytes = group.host().mask_bytes();
    TwinMatrix<Bf16> x = rows_of(shape.tokens, cols, 1), dx = rows_of(shape.tokens, cols, 2);
    std::vector<std::uint8_t> expected(static_cast<std::size_t>(shape.tokens * bytes));
    for (std::int64_t token = 0; token < shape.tokens; ++token) {
      for (const LinearModule& module : group.host().modules) {
        if (!module.has_lora()) continue;
        std::vector<float> mask(static_cast<std::size_t>(shape.in), 1.0f);
        drop_row(key, module.number(), token, 0, shape.in, mask.data());
        for (std::int64_t column = 0; column < shape.in; ++column) {
          const std::int64_t byte = token * bytes + module.lora_index * (shape.in / 8) + column / 8;
          const int bit = static_cast<int>(column % 8 / 2 + column % 2 * 4);
          if (mask[static_cast<std::size_t>(column)] != 0) expected[static_cast<std::size_t>(byte)] |= 1u << bit;
        }
      }
    }
    for_each_schedule([&] {
      TwinMatrix<std::uint8_t> kept(shape.tokens, bytes, std::vector<std::uint8_t>(expected.size(), 0xa5));
      gradients_on_device(group.device(), Factor::kA, [&](const LinearGroup& linears) {
        lora_grad_a(device(bytes_for(group.host(), shape.tokens, Factor::kA)), linears, key, x.device(), dx.device(),
                    kept.device());
      });
      ASSERT_EQ(kept.device_values(), expected);
    });
  });
}

// One call with more tokens than a launch takes, and two calls with the same tokens.
TEST_F(LoraDevice, DownDoesNotDependOnHowTokensAreCut) {
  constexpr std::int64_t kTokens = 16 * 1024 + 1, kCut = 1000;
  const TwinGroup group(8, 4, {{kO, 8}}, TwinWeights::kBf16, 1);
  TwinMatrix<Bf16> whole = rows_of(kTokens, group.host().fused_in(), 1),
                   cut = rows_of(kTokens, group.host().fused_in(), 1);
  const DropoutKey key = key_of(0.1f);
  DropoutKey later = key;
  later.first_token += kCut;
  lora_down(device(), group.device(), key, whole.device());
  lora_down(device(), group.device(), key, cut.device().slice_rows(0, kCut));
  lora_down(device(), group.device(), later, cut.device().slice_rows(kCut, kTokens - kCut));
  ASSERT_EQ(whole.device_values(), cut.device_values());
  ASSERT_NE(whole.device_values(), whole.host_values()) << "something was written";
}

// One call with more slabs than the workspace has sums for, and two calls that are cut between slabs.
TEST_F(LoraDevice, GradientsDoNotDependOnHowTokensAreCut) {
  constexpr std::int64_t kTokens = 16 * 1024 + 1, kCut = 3 * 1024;
  const TwinGroup group(8, 4, {{kO, 8}}, TwinWeights::kBf16, 1);
  TwinMatrix<Bf16> x = rows_of(kTokens, group.host().fused_in(), 1), dx = rows_of(kTokens, group.host().fused_in(), 2);
  TwinMatrix<Bf16> dy = rows_of(kTokens, group.host().out(), 3);
  const DropoutKey key = key_of(0.1f);
  DropoutKey later = key;
  later.first_token += kCut;
  const auto first = [](TwinMatrix<Bf16>& rows) { return rows.device().slice_rows(0, kCut); };
  const auto rest = [](TwinMatrix<Bf16>& rows) { return rows.device().slice_rows(kCut, kTokens - kCut); };
  EXPECT_EQ(gradients_on_device(
                group.device(), Factor::kA,
                [&](const LinearGroup& linears) { lora_grad_a(device(), linears, key, x.device(), dx.device()); }),
            gradients_on_device(group.device(), Factor::kA, [&](const LinearGroup& linears) {
              lora_grad_a(device(), linears, key, first(x), first(dx));
              lora_grad_a(device(), linears, later, rest(x), rest(dx));
            }));
  EXPECT_EQ(
      gradients_on_device(group.device(), Factor::kB,
                          [&](const LinearGroup& linears) { lora_grad_b(device(), linears, x.device(), dy.device()); }),
      gradients_on_device(group.device(), Factor::kB, [&](const LinearGroup& linears) {
        lora_grad_b(device(), linears, first(x), first(dy));
        lora_grad_b(device(), linears, rest(x), rest(dy));
      }));
}

}  // namespace
}  // namespace shori
