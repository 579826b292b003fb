// Gradients of the LoRA factors, and the rounded copies of the factors that products read.
//
// Rounding: sums and gradients are fp32, nothing is rounded to bf16.
// Order of the sums: tokens are cut into slabs of 1,024; each slab is one product, and the slabs are added to the
//   gradient in ascending order. Calls that cut the tokens at slabs give the same bits as one call.
// Deterministic: the result does not depend on threads or tiles. The CPU and a device differ by roundings.
// Workspace on a device: lora_grad_workspace_bytes().
#pragma once

#include <cstddef>
#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// For each module with LoRA: da += scale * d(xA)^T . (mask (.) x). fused_x and fused_dx as in nf4_linear.h.
// Cost: 2 * T * modules * rank * in FLOP; x and dxA are read.
// kept [T, mask_bytes()] kU8, rows without gaps: a device leaves the masks it drew there, for LoraInputGradient. It is not
// written on the CPU or without dropout.
void lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, ConstTensorView fused_x,
                 ConstTensorView fused_dx, std::optional<TensorView> kept = std::nullopt);

// For each module with LoRA: db += scaling * (its columns of dy)^T . xA. dy [T, out()].
// Cost: 2 * T * rank * out FLOP over the outputs of these modules; their dy and xA are read.
void lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy);

// out[i] = round(scale * master[i]): called after the factors are loaded; the optimizer does the same after each step.
// scale is 1 for A and alpha / rank for B. The CPU and a device agree bit for bit.
void round_lora_factor(const OpContext& context, ConstTensorView master, float scale, TensorView out);

// The sums of up to 16 slabs. `columns`: those of all gradients of a call together, which are lora_count() * in() for
// lora_grad_a and the outputs of the modules with LoRA for lora_grad_b.
std::size_t lora_grad_workspace_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t rank);

}  // namespace shori
