// The frozen linears of one group and their LoRA up-projections, as one product of fused operands (linear_group.h).
//
//   y = [x | xA] . [W | B']^T
//   [dx | dxA] = dy . [W | B']
//
// Rounding: a weight is dequantized by separately rounded operations (its scale, then one multiply) and rounded to bf16,
//   also under fp32 activations. Products sum in fp32 and round once to the activation dtype. On a device the products may
//   be those of kernels/linear/nf4_product.h (ops/matmul_choices.h): weights rounded to fp16, sums of 64 in fp16.
// Order of the sums: fixed by the shape; with the tile products of AMX that of kernels/cpu/product_order.h, which does not
//   depend on the number of tokens, and reads and writes denormals as zero. On a device it does not depend on the number of tokens either.
// Deterministic: the result does not depend on threads, timing or free memory. The CPU and a device differ by roundings;
//   the dequantized weights agree bit for bit.
// Workspace on a device: nf4_linear_workspace_bytes(), in either way. Each call dequantizes the weights again, unless the
//   group has memory for them (DecodedWeight): then kMatmulWorkspaceBytes suffice.
// Cost: 2 * T * out * fused_in FLOP, forward and backward each.
// Source: bitsandbytes Linear4bit and PEFT, with one sum instead of three roundings.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// fused_x [T, fused_in()], y [T, out()]. Columns of y: the modules in order.
void nf4_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y);

// dy [T, out()], fused_dx [T, fused_in()]. The LoRA part of dx is not included: the op that reads dx adds it
// (LoraInputGradient).
void nf4_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx);

// The dequantized weights of the group and the workspace of the product.
std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t fused_in);

}  // namespace shori
