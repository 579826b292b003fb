// The weights of a group as one operand of a device product.
#pragma once

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// [W | B'] of all modules, their rows one after the other: [out(), fused_in()] bf16. The memory is the group's, if it has some;
// what is there is not decoded again. Else it comes from the context's workspace; the caller holds a frame. A single dense
// weight without LoRA is returned as it is. `op` names the caller in messages.
ConstTensorView fused_weight(const OpContext& context, const char* op, const LinearGroup& group);

}  // namespace shori
