// Embedding lookup.
//
//   x[t] = table[ids[t]]
//
// Rounding: none, rows are copied; the CPU and a device agree bit for bit.
// Cost: x read once and written once. Workspace: none.
// Source: transformers MistralModel.embed_tokens.
#pragma once

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// table [V, C] and x [T, C], bf16 or fp32, of one dtype. ids [T] lie in [0, V).
void embed(const OpContext& context, ConstTensorView table, const Int32Array& ids, TensorView x);

}  // namespace shori
