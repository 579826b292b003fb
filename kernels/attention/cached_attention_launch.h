// Launchers of ops/cached_attention.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

struct CachedAttentionLaunch {
  const Bf16* qkv;      // [tokens, (heads + 2 kv_heads) * dim]
  Bf16 *keys, *values;  // [kv_heads * positions, dim]
  Bf16* out;            // [tokens, heads * dim]
  std::int64_t qkv_stride, out_stride, positions;
  int tokens, first;  // position of the first token
  int heads, kv_heads, dim, window;
};
// Writes keys and values of the tokens to the cache, then attends.
SHORI_LAUNCHER void launch_cached_attention(const CachedAttentionLaunch& arguments, cudaStream_t stream);

}  // namespace shori
