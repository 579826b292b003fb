// Gradients of the LoRA factors, added into fp32. Tokens are reduced in slabs of 1,024 in ascending order, so the
// result does not depend on tiling. Workspace on a device: lora_grad_workspace_bytes().
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// For each module with a slot: da += scale * d(xA)^T . (mask (.) x). fused_x and fused_dx as in nf4_linear.h.
// 2 * T * slots * r * in FLOP; bytes: x and dxA.
void lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, ConstTensorView fused_x,
                 ConstTensorView fused_dx);

// For each module with a slot: db += scaling * dy_module^T . xA. dy [T, out()]. 2 * T * r * out FLOP over the outputs
// of these modules; bytes: their dy, and xA.
void lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy);

// The copies that the products use, made from the fp32 masters after loading and by the optimizer after each step:
// out[i] = round(scale * in[i]). scale 1 for A, alpha / rank for B. Bytes: master and out.
void round_lora_factor(const OpContext& context, ConstTensorView master, float scale, TensorView out);

// Bytes that lora_grad_a and lora_grad_b take from the workspace on a device: sums of slabs of tokens. `columns`: of all gradients together,
// lora_count() * in() or the outputs of the modules with LoRA.
std::size_t lora_grad_workspace_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t rank);

}  // namespace shori
