// What the CPU versions of attention share: the blocks of queries, the keys that they see, and the softmax.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/rows.h"
#include "shori/ops/attention.h"

namespace shori {

// Queries per block. Their scores against all visible keys are the largest temporary.
inline constexpr std::int64_t kQueries = 128;

// One block of queries of one sample. Rows count from the start of the pack.
struct QueryBlock {
  std::int64_t start;         // first row of the sample
  std::int64_t first, count;  // the queries
  std::int64_t keys;          // first key that any of them sees
  std::int64_t key_count;     // number of keys up to the last query
};

// The columns of the block's scores that query `i` sees: [low, high).
struct VisibleKeys {
  std::int64_t low, high;
};
inline VisibleKeys visible(const QueryBlock& block, std::int64_t i, std::int64_t window) {
  const std::int64_t query = block.first + i;
  const std::int64_t oldest = window > 0 ? std::max(block.start, query - window + 1) : block.start;
  return {oldest - block.keys, query + 1 - block.keys};
}

inline QueryBlock query_block(std::int64_t start, std::int64_t end, std::int64_t first, std::int64_t window) {
  const std::int64_t count = std::min(kQueries, end - first);
  const std::int64_t keys = window > 0 ? std::max(start, first - window + 1) : start;
  return {start, first, count, keys, first + count - keys};
}

inline std::vector<QueryBlock> query_blocks(std::span<const std::int32_t> cu_seqlens, std::int64_t window) {
  std::vector<QueryBlock> blocks;
  for (std::size_t sample = 0; sample + 1 < cu_seqlens.size(); ++sample) {
    for (std::int64_t first = cu_seqlens[sample]; first < cu_seqlens[sample + 1]; first += kQueries) {
      blocks.push_back(query_block(cu_seqlens[sample], cu_seqlens[sample + 1], first, window));
    }
  }
  return blocks;
}

inline std::int64_t max_keys(std::span<const QueryBlock> blocks) {
  std::int64_t count = 0;
  for (const QueryBlock& block : blocks) count = std::max(count, block.key_count);
  return count;
}

// The first columns of q, k and v of one query head in qkv.
struct Head {
  std::int64_t q, k, v;
};
inline Head head_columns(const AttentionShape& shape, std::int64_t head) {
  const std::int64_t kv = head / (shape.heads / shape.kv_heads);
  return {head * shape.head_dim, (shape.heads + kv) * shape.head_dim,
          (shape.heads + shape.kv_heads + kv) * shape.head_dim};
}

inline float scale_of(const AttentionShape& shape) { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

// Turns scores into e^(score - maximum), with exact zeros for keys that a query does not see, and writes 1 / sum and the
// log-sum-exp of each query.
inline void softmax_block(const AttentionShape& shape, const QueryBlock& block, float* scores, float* inverse_sum,
                          float* lse) {
  const float scale = scale_of(shape);
  for (std::int64_t i = 0; i < block.count; ++i) {
    float* row = scores + i * block.key_count;
    const VisibleKeys keys = visible(block, i, shape.window);
    const float shift = max_of_row(row + keys.low, keys.high - keys.low) * scale;
    const float sum = exp_shifted_row(scale, shift, row + keys.low, keys.high - keys.low);
    std::fill(row, row + keys.low, 0.0f);
    std::fill(row + keys.high, row + block.key_count, 0.0f);
    inverse_sum[i] = 1.0f / sum;
    lse[block.first + i] = shift + std::log(sum);
  }
}

// Writes `result` [block.count, dim], divided by the sums of its rows, to the rows of the block from column `first` on.
inline void store_block(const QueryBlock& block, const float* inverse_sum, float* result, TensorView out,
                        std::int64_t first, std::int64_t dim) {
  for (std::int64_t i = 0; i < block.count; ++i) {
    scale_row(inverse_sum[i], result + i * dim, dim);
    store_row(result + i * dim, out, block.first + i, first, dim);
  }
}

}  // namespace shori
