#include "src/train/plan/attention_memory.h"

#include <algorithm>

#include "shori/ops/attention.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Large blocks of the caching allocator are multiples of 2 MiB.
std::size_t block(std::int64_t bytes) { return round_up(static_cast<std::size_t>(bytes), std::size_t{2} << 20); }

}  // namespace

std::size_t attention_memory_bytes(const MistralConfig& config, std::int64_t tokens, std::int64_t segments,
                                   int sm_count) {
  const std::int64_t padded = tokens + 128 * segments, q = config.q_size();
  const std::size_t forward = block(tokens * q * 2) + block(config.heads * tokens * 4);
  // Backward, one call for each range of heads.
  const AttentionShape shape{config.heads, config.kv_heads, config.head_dim, config.sliding_window};
  const std::int64_t heads = attention_backward_heads(shape, tokens, segments, sm_count);
  const std::int64_t kv_heads = std::max<std::int64_t>(1, heads / (config.heads / config.kv_heads));
  const std::int64_t splits = ceil_div<std::int64_t>(sm_count, segments * heads);
  // Rows of its fp32 copies of dq have whole tiles of head_dim.
  const std::int64_t tile = config.head_dim <= 128 ? 32 : 64, dq = heads * round_up(config.head_dim, tile);
  const std::int64_t columns = heads * config.head_dim, kv_columns = kv_heads * config.head_dim;
  const std::size_t of_heads = block(tokens * columns * 2);
  const std::size_t expanded = kv_heads == heads ? 0 : 2 * of_heads;
  const std::size_t copies = heads == config.heads ? 0 : 2 * of_heads;
  const std::size_t backward = of_heads + 2 * block(tokens * kv_columns * 2) + expanded + copies +
                               block(heads * padded * 4) + block(splits * padded * dq * 4);
  return std::max(forward, backward);
}

}  // namespace shori
