// What libtorch's FlashAttention-2 allocates outside of the arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/io/mistral_config.h"

namespace shori {

// Peak of one forward or backward call of one layer, each tensor rounded up as libtorch's allocator does:
//   forward   output, log-sum-exp
//   backward  of the heads of one call (attention_backward_heads): dq, dk, dv; dk and dv expanded to the query heads; row sums
//             of the softmax; ceil(sm_count / (segments * heads)) fp32 copies of dq, because the deterministic version sums
//             them in a fixed order; where it takes some of the heads, their columns of the output and its gradient
// `tokens` and `segments` are those of the micro-batch, padding included.
std::size_t attention_memory_bytes(const MistralConfig& config, std::int64_t tokens, std::int64_t segments,
                                   int sm_count);

}  // namespace shori
