// Embedding rows. Source: transformers MistralModel.embed_tokens.
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// x[t] = table[ids[t]]; table [V, C] and x [T, C] of one dtype (exact copy). Ids must lie in [0, V): checked when
// samples are made.
void embed(const OpContext& context, ConstTensorView table, std::span<const std::int32_t> ids, TensorView x);

}  // namespace shori
