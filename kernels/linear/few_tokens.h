// The linears of a group for up to kMaxRowInputs tokens on the CPU (ops/decode_linear.h).
#pragma once

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// Writes xA of the modules with LoRA beside x, and zeros in the LoRA columns that are left.
void few_token_lora_down(const OpContext& context, const LinearGroup& group, TensorView fused_x);
// y = [x | xA] . [W | B']^T
void few_token_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y);

}  // namespace shori
