// The LoRA ops on bf16 activations by tile products (kernels/cpu/product.h). Masks are drawn on the bf16 values before they
// are packed; scales are applied to the fp32 sums, as in the other CPU versions.
#pragma once

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// What lora_down(), lora_grad_a() and lora_grad_b() do, for bf16 activations and use_tile_products().
void tile_lora_down(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout, TensorView fused_x);
void tile_lora_grad_a(const OpContext& context, const LinearGroup& group, const DropoutKey& dropout,
                      ConstTensorView fused_x, ConstTensorView fused_dx);
void tile_lora_grad_b(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView dy);

}  // namespace shori
