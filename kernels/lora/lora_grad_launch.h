// Launcher of the gradients of ops/lora_grad.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"

namespace shori {

inline constexpr std::int64_t kGradientSlab = 1024;       // tokens that one product sums
inline constexpr std::int64_t kGradientSlabsOfPass = 16;  // slabs whose sums are in memory at the same time

// One gradient: for column c of the wide operand and j of the rank,
//
//   gradient[c * column_stride + j * rank_stride] += scale * sum over tokens of wide[token, c] * narrow[token, j]
struct LoraGradient {
  float* gradient;
  float* sums;                         // [slabs, columns * rank], each slab in the order of the gradient
  std::int64_t first_column, columns;  // columns of the wide operand, multiples of 8
  int narrow_column;                   // column of the narrow operand for j = 0
  int module_index;                    // part of the mask's key
};

// Slabs of tokens are added in ascending order. All gradients share tokens and rank; pointers are 16-byte aligned, row
// strides are multiples of 8. Bytes: the wide operand is read once, the narrow one once for each 128 columns, and the
// sums of the slabs are written and read.
struct LoraGradLaunch {
  const Bf16* wide;    // [tokens, ...]: x, or dy
  const Bf16* narrow;  // [tokens, ...]: LoRA columns, d(xA) or xA; readable up to the next multiple of 8 columns
  std::int64_t wide_stride, narrow_stride;
  std::int64_t tokens;  // at most kGradientSlab * kGradientSlabsOfPass
  std::int64_t column_stride, rank_stride;
  int rank;
  int count;            // number of gradients
  bool shared_columns;  // all gradients read the same columns of the wide operand, in the order of their narrow columns
  float scale;
  DropoutMask mask;              // applied to the wide operand; threshold 0: no mask
  std::uint8_t* kept = nullptr;  // [tokens, count, columns / 8], the mask as kept_byte(); null: it is not written
  LoraGradient gradients[kMaxModulesOfGroup];
};
SHORI_LAUNCHER void launch_lora_grad(const LoraGradLaunch& arguments, cudaStream_t stream);

}  // namespace shori
