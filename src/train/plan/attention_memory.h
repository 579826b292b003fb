// What libtorch's FlashAttention-2 allocates outside of the arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/io/mistral_config.h"

namespace shori {

// Peak of one forward or backward call of one layer, each tensor rounded up as libtorch's allocator does:
//   forward   output, log-sum-exp
//   backward  dq, dk, dv; dk and dv expanded to all query heads; row sums of the softmax; ceil(sm_count / (segments *
//             heads)) fp32 copies of dq, because the deterministic version sums them in a fixed order
// `tokens` and `segments` are those of the micro-batch, padding included.
std::size_t attention_memory_bytes(const MistralConfig& config, std::int64_t tokens, std::int64_t segments,
                                   int sm_count);

}  // namespace shori
