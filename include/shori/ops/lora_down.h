// xA of every module with LoRA of a group, written beside x.
//
//   xA = scale * (mask (.) x) . A^T         for each module, with its own mask
//
// Rounding: fp32 sums, one rounding to the activation dtype.
// Order of the sums: fixed by the number of columns. A device cuts the columns into four parts that are added in order.
// Deterministic: the result does not depend on threads or on how tokens are cut into calls. The masks of the CPU and a
//   device are equal, their sums differ by roundings.
// Memory: neither a mask nor a dropped x is stored. Workspace on a device: lora_down_workspace_bytes().
// Cost: 2 * T * modules * rank * in FLOP; the fused input is read or written once.
// Source: PEFT's LoRA Linear, lora_A(dropout(x)), with fewer roundings.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// fused_x [T, fused_in()], activation dtype. Its first in() columns are x; the op writes the LoRA columns, zeros
// included.
void lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView fused_x);

// The sums of the four parts of the columns. `modules`: lora_count() of the group.
std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t modules, std::int64_t rank);

}  // namespace shori
