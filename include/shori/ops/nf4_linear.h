// The frozen linears of one group together with their LoRA up-projections. Source: bitsandbytes Linear4bit + PEFT, one
// sum instead of three roundings.
//
// Weights are dequantized to a scratch for each call (two separately rounded operations for the scale, one multiply,
// one rounding to bf16), also under fp32 activations. CPU products: operands widened to fp32, fp32 sums, one rounding
// to the activation dtype.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// y [T, out()] = x W^T + xA B'^T; fused_x [T, in() + extension]. Columns of y: the modules in order. 2 * T * out *
// (in + extension) FLOP.
void nf4_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y);

// fused_dx [T, in() + extension] = [dy W | dy B']: the base part of dx and d(xA) of each slot. The LoRA part of dx
// is added by its consumer (LoraInputGradient). The FLOP of nf4_linear.
void nf4_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx);

// Bytes that nf4_linear and nf4_linear_backward take from the workspace on a device: the dequantized weights of the group. `fused_in` =
// in() + lora_columns().
std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t fused_in);

}  // namespace shori
