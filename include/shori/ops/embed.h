// Embedding rows. Source: transformers MistralModel.embed_tokens.
#pragma once

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// x[t] = table[ids[t]]; table [V, C] and x [T, C] of one dtype (exact copy). Ids must lie in [0, V): checked when
// samples are made. Bytes: x read once and written once.
void embed(const OpContext& context, ConstTensorView table, const Int32Array& ids, TensorView x);

}  // namespace shori
