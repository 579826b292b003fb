// xA and the gradients of LoRA factors on the device against the CPU versions.
#include <functional>
#include <string>

#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "tests/support/device_group.h"

namespace shori {
namespace {

using testing::DeviceArray;
using testing::floats;
using testing::normal_bf16;
using testing::normal_values;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;

struct Case {
  std::int64_t tokens, in, rank;
  std::vector<testing::TwinModule> modules;
  float probability = 0.1f;
};

// Tokens, columns and ranks around the tiles of the kernels; slots that begin anywhere in a group of 8 columns.
const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {1, 8, 1, {{3, 8}}},
      {15, 64, 20, {{0, 136}, {1, 64}, {2, 64}}},
      {63, 72, 20, {{4, 200}, {5, 200, false}}},
      {64, 200, 8, {{0, 64, false}, {1, 32}, {2, 32}}},
      {65, 264, 20, {{6, 40}}, 0.0f},
      {130, 136, 33, {{4, 24}, {5, 136}}},
      {70, 136, 17, {{0, 24}, {1, 8}, {2, 16}}, 0.5f},
      {33, 72, 63, {{0, 24}, {1, 8}, {2, 16}}},
      {33, 72, 40, {{0, 24}, {1, 8}, {2, 16}}},  // dynamic shared memory of 48 KiB beside the static part
      {40, 72, 64, {{4, 24}, {5, 8}}},
      {1023, 16, 5, {{0, 8}, {1, 8, false}, {2, 8}}},
      {1025, 72, 30, {{4, 24}, {5, 136}}},
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

TwinMatrix<Bf16> rows_of(std::int64_t tokens, std::int64_t cols, std::uint32_t seed) {
  return {tokens, cols, normal_bf16(static_cast<std::size_t>(tokens * (cols + 8)), seed), cols + 8};
}

std::int64_t extended(const LinearGroup& group) { return group.in() + group.lora_columns(); }

enum class Factor { kA, kB };
using Gradients = std::vector<std::vector<float>>;  // by slot
using Run = std::function<void(const LinearGroup&)>;

std::size_t size_of(const LinearGroup& group, const LinearModule& module, Factor factor) {
  return static_cast<std::size_t>(group.rank * (factor == Factor::kA ? group.in() : module.weight.rows));
}

// What the gradients hold before: not zero, since ops add.
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
  for (auto& slot : values) memory.push_back(slot.data());
  run_with(group, factor, memory, run);
  return values;
}

Gradients gradients_on_device(const LinearGroup& group, Factor factor, const Run& run) {
  std::vector<std::unique_ptr<DeviceArray<float>>> arrays;
  std::vector<float*> memory;
  for (const auto& slot : start_of(group, factor)) {
    arrays.push_back(std::make_unique<DeviceArray<float>>(slot));
    memory.push_back(arrays.back()->get());
  }
  run_with(group, factor, memory, run);
  Gradients values;
  for (const auto& array : arrays) values.push_back(array->to_host());
  return values;
}

// Factors and inputs of which every sum is exact in fp32, whatever the order, and tells each bit of the mask: the value
// of rank row j of A is a power of two at columns j, j + rank, j + 2 * rank, ..., else zero.
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
    for (std::size_t i = 0; i < cases().size(); ++i) {
      SCOPED_TRACE("case " + std::to_string(i));
      const Case& shape = cases()[i];
      check(shape, TwinGroup(shape.in, shape.rank, shape.modules, DType::kBf16, 10), key_of(shape.probability));
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
    const std::int64_t cols = extended(group.host());
    TwinMatrix<Bf16> wanted = rows_of(shape.tokens, cols, 1);
    lora_down(cpu(), group.host(), key, wanted.host());
    for_each_schedule([&] {
      TwinMatrix<Bf16> x = rows_of(shape.tokens, cols, 1);
      const std::size_t bytes = lora_down_workspace_bytes(shape.tokens, group.host().lora_count(), shape.rank);
      lora_down(device(bytes), group.device(), key, x.device());
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      const auto got = x.device_values();
      std::vector<float> got_tail, wanted_tail;
      for (std::size_t i = 0; i < got.size(); ++i) {
        const auto column = static_cast<std::int64_t>(i) % (cols + 8);
        if (column >= shape.in && column < shape.in + group.host().lora_count() * shape.rank) {
          got_tail.push_back(to_float(got[i]));
          wanted_tail.push_back(to_float(wanted.host_values()[i]));
        } else {
          ASSERT_EQ(got[i], wanted.host_values()[i]) << "x, the zeros of the tail or what lies behind a row, at " << i;
        }
      }
      // The fp32 sums have another order and are rounded once: they differ where one lies near a tie of bf16.
      ASSERT_LE(relative_error(got_tail, wanted_tail), 1e-3);
    });
  });
}

TEST_F(LoraDevice, GradientOfAMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey& key) {
    const std::int64_t cols = extended(group.host());
    TwinMatrix<Bf16> x = rows_of(shape.tokens, cols, 1), dx = rows_of(shape.tokens, cols, 2);
    const Gradients wanted = gradients_on_cpu(group.host(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(cpu(), linears, key, x.host(), dx.host());
    });
    const std::size_t bytes = bytes_for(group.host(), shape.tokens, Factor::kA);
    for_each_schedule([&] {
      const Gradients got = gradients_on_device(group.device(), Factor::kA, [&](const LinearGroup& linears) {
        lora_grad_a(device(bytes), linears, key, x.device(), dx.device());
      });
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      // fp32 sums of up to 1,024 products in another order, which tensor cores truncate as they add; nothing is rounded
      // to bf16.
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_LE(relative_error(got[i], wanted[i]), 2e-5) << "slot " << i;
    });
  });
}

TEST_F(LoraDevice, GradientOfBMatchesCpu) {
  for_each_case([&](const Case& shape, const TwinGroup& group, const DropoutKey&) {
    TwinMatrix<Bf16> x = rows_of(shape.tokens, extended(group.host()), 1);
    TwinMatrix<Bf16> dy = rows_of(shape.tokens, group.host().out(), 2);
    const Gradients wanted = gradients_on_cpu(group.host(), Factor::kB, [&](const LinearGroup& linears) {
      lora_grad_b(cpu(), linears, x.host(), dy.host());
    });
    const std::size_t bytes = bytes_for(group.host(), shape.tokens, Factor::kB);
    for_each_schedule([&] {
      const Gradients got = gradients_on_device(group.device(), Factor::kB, [&](const LinearGroup& linears) {
        lora_grad_b(device(bytes), linears, x.device(), dy.device());
      });
      ASSERT_EQ(device_workspace().peak_bytes(), bytes);
      // As for A.
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_LE(relative_error(got[i], wanted[i]), 2e-5) << "slot " << i;
    });
  });
}

TEST_F(LoraDevice, DownHasTheMasksOfTheCpuToTheBit) {
  constexpr std::int64_t kTokens = 70, kIn = 136, kRank = 20;
  const TwinGroup twins(kIn, kRank, {{0, 8}, {1, 8}, {2, 8}}, DType::kBf16, 1);
  TwinMatrix<Bf16> factor(kRank, kIn, powers_by_column(kRank, kIn));
  const auto with_factor = [&](const LinearGroup& group, const void* a) {
    std::vector<LinearModule> modules(group.modules.begin(), group.modules.end());
    for (LinearModule& module : modules) module.a = a;
    return modules;
  };
  const auto host = with_factor(twins.host(), factor.host().data);
  const auto on_device = with_factor(twins.device(), factor.device().data);
  const LinearGroup group{host, kRank, 1.0f};
  const std::vector<Bf16> ones(static_cast<std::size_t>(kTokens * extended(group)), to_bf16(1.0f));
  for (const float probability : {0.0f, 0.1f, 0.5f}) {
    SCOPED_TRACE(probability);
    TwinMatrix<Bf16> wanted(kTokens, extended(group), ones), x(kTokens, extended(group), ones);
    lora_down(cpu(), group, key_of(probability), wanted.host());
    lora_down(device(), {on_device, kRank, 1.0f}, key_of(probability), x.device());
    ASSERT_EQ(x.device_values(), wanted.host_values());
    if (probability > 0) continue;
    for (std::int64_t j = 0; j < kRank; ++j) {  // nothing is dropped: all powers of the row
      const float sum = std::ldexp(1.0f, static_cast<int>((kIn - j + kRank - 1) / kRank)) - 1;
      ASSERT_EQ(to_float(x.device_values()[static_cast<std::size_t>(kIn + j)]), sum);
    }
  }
}

TEST_F(LoraDevice, GradientOfAHasTheMasksOfTheCpuToTheBit) {
  constexpr std::int64_t kTokens = 400, kIn = 136, kRank = 20;  // 20 powers of two a rank row, fewer than fp32 holds
  const TwinGroup twins(kIn, kRank, {{0, 8}, {1, 8}, {2, 8}}, DType::kBf16, 1);
  const std::int64_t cols = extended(twins.host());
  std::vector<Bf16> gradient(static_cast<std::size_t>(kTokens * cols), Bf16{0});
  for (std::int64_t token = 0; token < kTokens; ++token) {
    for (std::int64_t slot = 0; slot < 3; ++slot) {
      gradient[static_cast<std::size_t>(token * cols + kIn + slot * kRank + token % kRank)] =
          to_bf16(std::ldexp(1.0f, static_cast<int>(token / kRank)));
    }
  }
  TwinMatrix<Bf16> dx(kTokens, cols, gradient);
  TwinMatrix<Bf16> x(kTokens, cols, std::vector<Bf16>(gradient.size(), to_bf16(1.0f)));
  for (const float probability : {0.0f, 0.1f, 0.5f}) {
    SCOPED_TRACE(probability);
    const DropoutKey key = key_of(probability);
    const Gradients wanted = gradients_on_cpu(twins.host(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(cpu(), linears, key, x.host(), dx.host());
    });
    const Gradients got = gradients_on_device(twins.device(), Factor::kA, [&](const LinearGroup& linears) {
      lora_grad_a(device(), linears, key, x.device(), dx.device());
    });
    ASSERT_EQ(got, wanted);
    if (probability > 0) continue;
    const Gradients start = start_of(twins.host(), Factor::kA);
    for (std::size_t i = 0; i < start[0].size(); ++i) ASSERT_EQ(got[0][i], start[0][i] + (std::ldexp(1.0f, 20) - 1));
  }
}

// More tokens than one launch takes, in one call and in two.
TEST_F(LoraDevice, DownDoesNotDependOnHowTokensAreCut) {
  constexpr std::int64_t kTokens = 16 * 1024 + 1, kCut = 1000;
  const TwinGroup group(8, 4, {{3, 8}}, DType::kBf16, 1);
  TwinMatrix<Bf16> whole = rows_of(kTokens, extended(group.host()), 1),
                   cut = rows_of(kTokens, extended(group.host()), 1);
  const DropoutKey key = key_of(0.1f);
  DropoutKey later = key;
  later.first_token += kCut;
  lora_down(device(), group.device(), key, whole.device());
  lora_down(device(), group.device(), key, cut.device().slice_rows(0, kCut));
  lora_down(device(), group.device(), later, cut.device().slice_rows(kCut, kTokens - kCut));
  ASSERT_EQ(whole.device_values(), cut.device_values());
  ASSERT_NE(whole.device_values(), whole.host_values()) << "something was written";
}

// More slabs than the workspace has sums for, in one call and in two that meet at a slab.
TEST_F(LoraDevice, GradientsDoNotDependOnHowTokensAreCut) {
  constexpr std::int64_t kTokens = 16 * 1024 + 1, kCut = 3 * 1024;
  const TwinGroup group(8, 4, {{3, 8}}, DType::kBf16, 1);
  TwinMatrix<Bf16> x = rows_of(kTokens, extended(group.host()), 1), dx = rows_of(kTokens, extended(group.host()), 2);
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
