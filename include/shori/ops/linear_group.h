// The linears that share one input (q k v; o; gate up; down), their frozen weights and their LoRA factors.
//
// A group's product and its LoRA part are one matrix product with one fp32 sum, because both operands are fused:
//
//   y = [x | xA] . [W | B']^T          fused input x fused weight
//   [dx | dxA] = dy . [W | B']         fused gradient
//
// A fused row has fused_in() = in() + lora_columns() elements. Its LoRA columns hold xA of the group's modules with
// LoRA, `rank` columns each in the order of their lora_index, and are zero from there to the end of the row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "shori/ops/tensor_view.h"
#include "shori/quant/nf4.h"
#include "shori/util/linear.h"
#include "shori/util/math.h"

namespace shori {

inline constexpr int kMaxModulesOfGroup = 3;
inline constexpr std::int64_t kLoraColumnMultiple = 32;  // keeps fused rows aligned for tensor cores

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

// One linear with its LoRA factors.
struct LinearModule {
  FrozenWeight weight;
  Linear linear = Linear::kQ;
  int lora_index = -1;             // position among the group's modules with LoRA; -1: this module has none
  const void* a = nullptr;         // [rank, in], activation dtype: rounded copy of the fp32 master
  const void* b_scaled = nullptr;  // [out, rank], activation dtype: B' = round(alpha / rank * B)
  float* da = nullptr;             // [rank, in] fp32; gradients are added to it
  float* db = nullptr;             // [out, rank] fp32, with respect to the unscaled B; gradients are added to it

  bool has_lora() const { return lora_index >= 0; }
  int number() const { return static_cast<int>(linear); }  // part of the dropout key
};

// Device memory in which the first product of a group leaves [W | B'] decoded for those that follow. Who owns it clears
// is_filled when it is for other weights or these have changed.
struct DecodedWeight {
  TensorView memory;  // [out(), fused_in()] bf16, rows without gaps
  bool is_filled = false;
};

struct LinearGroup {
  std::span<const LinearModule> modules;
  std::int64_t rank = 0;
  float scaling = 0.0f;              // alpha / rank
  DecodedWeight* decoded = nullptr;  // on a device; null: every product decodes the weights

  std::int64_t in() const { return modules.front().weight.cols; }
  std::int64_t out() const {
    std::int64_t sum = 0;
    for (const LinearModule& module : modules) sum += module.weight.rows;
    return sum;
  }
  // Number of modules with LoRA.
  std::int64_t lora_count() const {
    std::int64_t count = 0;
    for (const LinearModule& module : modules) count += module.has_lora() ? 1 : 0;
    return count;
  }
  std::int64_t lora_columns() const { return round_up(lora_count() * rank, kLoraColumnMultiple); }
  std::int64_t fused_in() const { return in() + lora_columns(); }
  // The dropout masks of one token, a bit for each input of each module with LoRA. `in` is a multiple of 8 on a device.
  std::int64_t mask_bytes() const { return lora_count() * (in() / 8); }
};

// Key of the LoRA dropout masks of one layer in one micro-batch. A mask is a function of (seed, step, micro_batch, layer,
// module, token, column), so any part of it can be computed again:
//
//   Philox4x32-10, key = (seed low, seed high),
//   counter = {column / 8, token, step, micro_batch << 16 | layer * 8 + module}
//
// Column 8g + i reads word i / 2, the low half for even i, and is dropped if that 16-bit draw is below threshold().
// Kept elements are multiplied by scale() in fp32.
struct DropoutKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;         // optimizer step of the stage, from 1
  std::uint32_t micro_batch = 0;  // from 0 within the step
  std::uint32_t layer = 0;
  std::uint32_t first_token = 0;  // token index, in the pack, of row 0 of the views
  float probability = 0.0f;       // 0: no dropout (evaluation, or `lora_dropout: 0`)

  std::uint32_t threshold() const { return static_cast<std::uint32_t>(probability * 65536.0 + 0.5); }
  float scale() const { return probability > 0 ? 1.0f / (1.0f - probability) : 1.0f; }
};

// What an op needs to complete the gradient of a group's input while it reads the fused gradient [dx | dxA] that
// nf4_linear_backward left: dx += scale * mask (.) (dxA . A) in fp32, summed over the modules with LoRA.
struct LoraInputGradient {
  const LinearGroup* group = nullptr;
  DropoutKey dropout;
  // On a device: the masks that lora_grad_a left. Without them the op draws them.
  std::optional<ConstTensorView> kept = std::nullopt;
};

}  // namespace shori
