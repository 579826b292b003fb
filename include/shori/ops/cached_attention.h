// Attention of new tokens over the keys and values of all tokens before them and their own.
//
//   out = softmax(q k^T / sqrt(D), causal, within the window) v
//
// Rounding: fp32 inside, `out` is rounded once.
// Order of the sums: keys in chunks of 256 positions from position 0 on, with a running maximum.
// Deterministic: a token's result depends on its query, its position and the cache alone, not on the other new tokens or on
//   threads. The CPU and a device differ by roundings.
// Workspace on a device: none.
// Cost: 4 * H * D FLOP for each pair of a token and a key that it sees.
#pragma once

#include <cstdint>

#include "shori/ops/attention.h"
#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// Keys (rotated) and values of one layer, [Hkv * positions, D] each: head h has rows h * positions and on.
struct CachedKeys {
  TensorView keys, values;
  std::int64_t positions = 0;
};

// qkv [M, (H + 2 Hkv) * D] of the tokens at positions first .. first + M - 1: their keys and values are written to the
// cache, which holds those of all positions before. out [M, H * D], rows may be longer.
void cached_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                      const CachedKeys& cache, std::int64_t first, TensorView out);

}  // namespace shori
