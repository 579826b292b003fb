// The linears that share one input (q k v; o; gate up; down), their frozen weights, their LoRA factors, and the buffers
// they use.
//
// Layout ("extended rows"): a group's input x [T, K] lives in a buffer whose rows have K + E elements, E =
// extension_columns(); columns K + r*s .. K + r*s + r - 1 hold xA of the module with LoRA slot s, the rest of the tail
// is zero. The group's product is then one matrix product with one fp32 sum:  y = [x | xA] . [W | B']^T,  and its
// backward  [dx | dxA] = dy . [W | B'].
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/tensor_view.h"
#include "shori/quant/nf4.h"
#include "shori/util/linear.h"

namespace shori {

inline constexpr int kMaxModulesOfGroup = 3;

// A frozen weight [rows = out, cols = in]: NF4 (dtype kU8), or dense (kBf16, kF32).
struct FrozenWeight {
  DType dtype = DType::kU8;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const void* dense = nullptr;  // [rows, cols], if it is not NF4
  Nf4View nf4;                  // if it is

  static FrozenWeight of(const Nf4View& nf4) { return {DType::kU8, nf4.layout.rows, nf4.layout.cols, nullptr, nf4}; }
  static FrozenWeight of(DType dtype, std::int64_t rows, std::int64_t cols, const void* dense) {
    return {dtype, rows, cols, dense, {}};
  }
};

// One linear with its adapter. Without LoRA: slot -1.
struct LinearModule {
  FrozenWeight weight;
  Linear linear = Linear::kQ;
  int slot = -1;                   // position among the group's modules that have LoRA
  const void* a = nullptr;         // [rank, in], activation dtype: rounded copy of the fp32 master
  const void* b_scaled = nullptr;  // [out, rank], activation dtype: round(alpha / rank * B)
  float* da = nullptr;             // [rank, in] fp32, gradients are added
  float* db = nullptr;             // [out, rank] fp32, gradients are added (with respect to the unscaled B)

  int number() const { return static_cast<int>(linear); }  // part of the dropout key
};

struct LinearGroup {
  std::span<const LinearModule> modules;
  std::int64_t rank = 0;
  float scaling = 0.0f;  // alpha / rank

  std::int64_t in() const { return modules.front().weight.cols; }
  std::int64_t out() const {
    std::int64_t sum = 0;
    for (const LinearModule& module : modules) sum += module.weight.rows;
    return sum;
  }
  std::int64_t slots() const {
    std::int64_t count = 0;
    for (const LinearModule& module : modules) count += module.slot >= 0 ? 1 : 0;
    return count;
  }
  // Tail of an extended row: ceil(slots * rank / 32) * 32 elements.
  std::int64_t extension_columns() const { return (slots() * rank + 31) / 32 * 32; }
};

// Key of the LoRA dropout masks of one layer in one micro-batch. Masks are functions of (seed, step, micro_batch,
// layer, module, token, column) and are never stored:
//   Philox4x32-10, key = (seed low, seed high), counter = {column / 8, token, step, micro_batch << 16 | layer * 8 +
//   module}; column 8g + i uses word i / 2, the low half for even i; dropped if the 16-bit draw < threshold.
// Kept elements count scale() times, applied in fp32.
struct DropoutKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;         // optimizer step of the stage, from 1
  std::uint32_t micro_batch = 0;  // from 0 within the step
  std::uint32_t layer = 0;
  std::uint32_t first_token = 0;  // token index, in the pack, of row 0 of the views
  float probability = 0.0f;       // 0: no dropout (evaluation, or lora_dropout: 0)

  std::uint32_t threshold() const { return static_cast<std::uint32_t>(probability * 65536.0 + 0.5); }
  float scale() const { return probability > 0 ? 1.0f / (1.0f - probability) : 1.0f; }
};

// The LoRA part of the gradient of a group's input: dx += scale * mask (.) (dxA . A), added in fp32 by the ops that
// read dx anyway. `dx_extended` rows are [dx | dxA] as nf4_linear_backward leaves them.
struct LoraInputGradient {
  const LinearGroup* group = nullptr;
  DropoutKey dropout;
};

}  // namespace shori
