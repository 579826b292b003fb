// The weights of a group as one operand of a device product.
#pragma once

#include <cstddef>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// [W | B'] of all modules, one below the other: [out(), in() + lora_columns()] bf16, taken from the context's
// workspace (the caller holds a frame). A single dense weight without adapter is returned as it is.
ConstTensorView fused_weight(const OpContext& context, const char* op, const LinearGroup& group);

}  // namespace shori
