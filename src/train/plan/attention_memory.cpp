#include "src/train/plan/attention_memory.h"

#include <algorithm>

#include "shori/util/math.h"

namespace shori {

namespace {

// Large blocks of the caching allocator are multiples of 2 MiB.
std::size_t block(std::int64_t bytes) {
  return round_up(static_cast<std::size_t>(bytes), std::size_t{2} << 20);
}

}  // namespace

std::size_t attention_memory_bytes(const MistralConfig& config, std::int64_t tokens, std::int64_t segments,
                                   int sm_count) {
  const std::int64_t padded = tokens + 128 * segments, q = config.q_size(), kv = config.kv_size();
  const std::int64_t splits = ceil_div<std::int64_t>(sm_count, segments * config.heads);
  // Rows of its fp32 copies of dq have whole tiles of head_dim.
  const std::int64_t tile = config.head_dim <= 128 ? 32 : 64, dq = config.heads * round_up(config.head_dim, tile);
  const std::size_t forward = block(tokens * q * 2) + block(config.heads * tokens * 4);
  const std::size_t expanded = config.kv_heads == config.heads ? 0 : 2 * block(tokens * q * 2);
  const std::size_t backward = block(tokens * q * 2) + 2 * block(tokens * kv * 2) + expanded +
                               block(config.heads * padded * 4) + block(splits * padded * dq * 4);
  return std::max(forward, backward);
}

}  // namespace shori
