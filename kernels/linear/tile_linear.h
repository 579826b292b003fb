// The linears of one group by tile products (kernels/cpu/product.h).
#pragma once

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// Whether the group's products run as tile products: the activations and all dense weights are bf16, and cpu_isa() has
// tiles.
bool is_tile_linear(const LinearGroup& group, DType activation);

// nf4_linear() and nf4_linear_backward() with checked operands.
void tile_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y);
void tile_linear_backward(const OpContext& context, const LinearGroup& group, ConstTensorView dy, TensorView fused_dx);

}  // namespace shori
