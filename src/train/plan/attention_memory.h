// What libtorch's FlashAttention-2 allocates beside our arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/io/mistral_config.h"

namespace shori {

// The most it holds at once in the forward or backward call of one layer, rounded up as its allocator does: the fresh
// output and log-sum-exp; or dq, dk, dv, dk and dv expanded to all
// query heads, the softmax's row sums, and, since the backward pass is deterministic, ceil(multiprocessors / (segments
// * heads)) copies of dq in fp32.
std::size_t attention_memory_bytes(const MistralConfig& config, std::int64_t tokens, std::int64_t segments,
                                   int sm_count);

}  // namespace shori
