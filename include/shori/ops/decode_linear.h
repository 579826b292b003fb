// The linears of one group with their LoRA parts, for the few tokens of decoding. Training and evaluation never call it:
// its bits differ from those of lora_down() and nf4_linear().
//
//   y = x W^T + (x A^T) B'^T
//
// Rounding: weights as in nf4_linear; xA is rounded to the activation dtype, as in lora_down. The CPU adds both parts in fp32
//   and rounds once. A device rounds x W^T, and then the sum.
// Order of the sums: fixed by the shape and the dtype of each weight (kernels/cpu/row_product.h).
// Deterministic: on the CPU a token's result does not depend on the other tokens or on threads. The CPU and a device differ
//   by roundings.
// Workspace on a device: decode_linear_workspace_bytes().
// Cost: 2 * T * out * fused_in FLOP. The weights are read once, as they are stored.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

inline constexpr std::int64_t kMaxDecodeTokens = 8;

// fused_x [T, fused_in()], T <= kMaxDecodeTokens; its first in() columns are x, and the op writes the LoRA columns.
// y [T, out()].
void decode_linear(const OpContext& context, const LinearGroup& group, TensorView fused_x, TensorView y);

std::size_t decode_linear_workspace_bytes(const LinearGroup& group);

}  // namespace shori
