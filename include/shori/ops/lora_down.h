// xA of every adapter that shares one input. Source of the rule: PEFT's LoRA Linear, lora_A(dropout(x)), with fewer
// roundings.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// For each module with a slot s:  fused_x[:, K + r*s ...] = round( scale * sum_k A[., k] * mask_k * x_k ), fp32
// sums, one rounding; the rest of the tail becomes zero. fused_x: [T, K + extension], activation dtype, its first K
// columns are x. Neither mask nor dropped x is stored. 2 * T * slots * r * K FLOP; bytes: fused_x once.
// Workspace on a device: lora_down_workspace_bytes().
void lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView fused_x);

// Bytes that lora_down takes from the workspace on a device: sums of parts of the columns.
std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t slots, std::int64_t rank);

}  // namespace shori
