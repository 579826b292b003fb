// On the CPU a task has up to 8 queries of one key/value head. Keys come in chunks that stay in the first cache while all
// queries of the task meet them; the sums of a query over its chunks are rescaled where a chunk raises its maximum.
#include "shori/ops/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/attention/cached_attention_launch.h"
#include "kernels/attention/query_block.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/rows.h"
#include "shori/ops/device_limits.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr const char* kOp = "cached_attention";
constexpr std::int64_t kKeys = 256;  // positions of a chunk, which are part of the arithmetic

void check_cached_attention(const AttentionShape& shape, ConstTensorView qkv, const CachedKeys& cache,
                            std::int64_t first, ConstTensorView out) {
  SHORI_CHECK(shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0 && shape.heads % shape.kv_heads == 0 &&
                  shape.window >= 0,
              "cached_attention: heads must be a multiple of key/value heads");
  check_activation(kOp, "qkv", qkv);
  check_matrix(kOp, "qkv", qkv, qkv.dtype, qkv.rows, (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  check_matrix(kOp, "out", out, qkv.dtype, qkv.rows, shape.heads * shape.head_dim);
  const std::int64_t rows = shape.kv_heads * cache.positions;
  for (const TensorView& part : {cache.keys, cache.values}) {
    check_matrix(kOp, "the cache", part, qkv.dtype, rows, shape.head_dim);
    SHORI_CHECK(part.stride == shape.head_dim, "cached_attention: the cache has no gaps between rows");
  }
  SHORI_CHECK(first >= 0 && first + qkv.rows <= cache.positions, "cached_attention: the cache is full");
}

void store_keys(const AttentionShape& shape, ConstTensorView qkv, const CachedKeys& cache, std::int64_t first) {
  const std::size_t element = size_of(qkv.dtype), bytes = static_cast<std::size_t>(shape.head_dim) * element;
  const auto copy = [&](std::int64_t token, std::int64_t column, const TensorView& to, std::int64_t head) {
    const TensorView row = to.slice_rows(head * cache.positions + first + token, 1);
    std::memcpy(row.data, qkv.slice_rows(token, 1).slice_cols(column, shape.head_dim).data, bytes);
  };
  for (std::int64_t token = 0; token < qkv.rows; ++token) {
    for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
      const Head columns = head_columns(shape, head * (shape.heads / shape.kv_heads));
      copy(token, columns.k, cache.keys, head);
      copy(token, columns.v, cache.values, head);
    }
  }
}

// One query and its sums so far.
struct Query {
  std::int64_t token, head, low, high;  // it sees positions [low, high)
  float maximum, sum;
  float* result;  // [D]: sum of e^(score - maximum) v
};

// Queries [first, first + count) of one key/value head, counted by token and then by head of the group.
struct QueryTask {
  std::int64_t kv_head, first, count;
};

class CpuAttention {
 public:
  CpuAttention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv, const CachedKeys& cache,
               std::int64_t first, TensorView out)
      : shape_(shape),
        qkv_(qkv),
        cache_(cache),
        first_(first),
        out_(out),
        isa_(cpu_isa()),
        packed_size_(packed_input_size(rows_of(cache.keys, 0))),
        scratch_(context, {kMaxRowInputs * packed_size_, kMaxRowInputs * kKeys, kMaxRowInputs * shape.head_dim,
                           shape.head_dim}) {}

  void run() const {
    const std::int64_t queries = qkv_.rows * group(), tasks_of_head = ceil_div(queries, queries_of_task());
    for_each_task(shape_.kv_heads * tasks_of_head, [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t query = task % tasks_of_head * queries_of_task();
      attend({task / tasks_of_head, query, std::min(queries_of_task(), queries - query)}, worker);
    });
  }

 private:
  std::int64_t group() const { return shape_.heads / shape_.kv_heads; }
  // Fewer than 8 where that gives every worker a task; no bit depends on it.
  std::int64_t queries_of_task() const {
    const std::int64_t queries = qkv_.rows * shape_.heads;
    return std::clamp<std::int64_t>(queries / worker_count(), 1, kMaxRowInputs);
  }
  // The cached rows of a head as a weight.
  FrozenWeight rows_of(const TensorView& part, std::int64_t kv_head) const {
    return FrozenWeight::of(part.dtype, cache_.positions, shape_.head_dim,
                            part.slice_rows(kv_head * cache_.positions, cache_.positions).data);
  }

  void attend(const QueryTask& task, std::int64_t worker) const {
    const auto [packed, scores, results, row] = scratch_.of(worker);
    Query queries[kMaxRowInputs];
    std::int64_t low = std::numeric_limits<std::int64_t>::max(), high = 0;
    const FrozenWeight keys = rows_of(cache_.keys, task.kv_head), values = rows_of(cache_.values, task.kv_head);
    for (std::int64_t i = 0; i < task.count; ++i) {
      const std::int64_t token = (task.first + i) / group(), position = first_ + token;
      const std::int64_t head = task.kv_head * group() + (task.first + i) % group();
      const std::int64_t oldest = shape_.window > 0 ? std::max<std::int64_t>(0, position - shape_.window + 1) : 0;
      queries[i] = {token,
                    head,
                    oldest,
                    position + 1,
                    -std::numeric_limits<float>::infinity(),
                    0.0f,
                    results + i * shape_.head_dim};
      std::fill_n(queries[i].result, shape_.head_dim, 0.0f);
      load_row(qkv_, token, head * shape_.head_dim, shape_.head_dim, row);
      pack_input(keys, row, packed + i * packed_size_);
      low = std::min(low, oldest);
      high = std::max(high, position + 1);
    }
    for (std::int64_t chunk = low / kKeys * kKeys; chunk < high; chunk += kKeys) {
      const std::int64_t begin = std::max(low, chunk), end = std::min(high, chunk + kKeys);
      multiply_rows(isa_, keys, begin, end, packed, task.count, scores + begin - chunk, kKeys);
      for (std::int64_t i = 0; i < task.count; ++i) weigh_chunk(queries[i], chunk, scores + i * kKeys);
      add_chunk({queries, static_cast<std::size_t>(task.count)}, chunk, scores, values);
    }
    for (std::int64_t i = 0; i < task.count; ++i) {
      scale_row(1.0f / queries[i].sum, queries[i].result, shape_.head_dim);
      store_row(queries[i].result, out_, queries[i].token, queries[i].head * shape_.head_dim, shape_.head_dim);
    }
  }

  // Makes weights of the `scores` [kKeys] of the chunk, of which the query sees a part.
  void weigh_chunk(Query& query, std::int64_t chunk, float* scores) const {
    const std::int64_t low = std::max(query.low, chunk), high = std::min(query.high, chunk + kKeys);
    if (low >= high) return;
    const float scale = scale_of(shape_), maximum = max_of_row(scores + low - chunk, high - low) * scale;
    if (!(maximum <= query.maximum)) {  // NaN as well
      const float rescale = std::exp(query.maximum - maximum);
      query.sum *= rescale;
      scale_row(rescale, query.result, shape_.head_dim);
      query.maximum = maximum;
    }
    query.sum += exp_shifted_row(scale, query.maximum, scores + low - chunk, high - low);
  }

  // Adds the values of the chunk to the results, which lie one after the other: at once where all queries see them.
  void add_chunk(std::span<const Query> queries, std::int64_t chunk, const float* weights,
                 const FrozenWeight& values) const {
    std::int64_t low = chunk, high = chunk + kKeys;
    for (const Query& query : queries) {
      low = std::max(low, query.low);
      high = std::min(high, query.high);
    }
    const auto add = [&](const Query& query, std::int64_t first, std::int64_t last, std::int64_t count) {
      if (first >= last) return;
      const float* from = weights + (&query - queries.data()) * kKeys + first - chunk;
      add_weighted_rows(isa_, values, first, last, {from, kKeys, count}, query.result);
    };
    high = std::max(low, high);
    for (const Query& query : queries)
      add(query, std::max(query.low, chunk), std::min({query.high, low, chunk + kKeys}), 1);
    add(queries.front(), low, high, std::ssize(queries));
    for (const Query& query : queries) add(query, std::max(query.low, high), std::min(query.high, chunk + kKeys), 1);
  }

  AttentionShape shape_;
  ConstTensorView qkv_;
  CachedKeys cache_;
  std::int64_t first_;
  TensorView out_;
  CpuIsa isa_;
  std::int64_t packed_size_;
  WorkerScratch<4> scratch_;  // packed queries, scores, results; a query
};

double attention_flop(const AttentionShape& shape, std::int64_t tokens, std::int64_t first) {
  double pairs = 0;
  for (std::int64_t position = first; position < first + tokens; ++position) {
    pairs += static_cast<double>(shape.window > 0 ? std::min(shape.window, position + 1) : position + 1);
  }
  return 4 * pairs * static_cast<double>(shape.heads * shape.head_dim);
}

}  // namespace

void cached_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                      const CachedKeys& cache, std::int64_t first, TensorView out) {
  check_context(context, kOp);
  check_cached_attention(shape, qkv, cache, first, out);
  log_work(context, {.flop = attention_flop(shape, qkv.rows, first)});
  if (qkv.rows == 0) return;
  if (on_device(context)) {
    check_device_rows(kOp, "qkv", qkv);
    check_device_rows(kOp, "out", out);
    SHORI_CHECK(shape.head_dim % 8 == 0 && shape.head_dim <= kMaxDeviceHeadDim,
                "cached_attention: a device takes head sizes that are multiples of 8, up to 256");
    launch_cached_attention({.qkv = qkv.row<Bf16>(0),
                             .keys = cache.keys.row<Bf16>(0),
                             .values = cache.values.row<Bf16>(0),
                             .out = out.row<Bf16>(0),
                             .qkv_stride = qkv.stride,
                             .out_stride = out.stride,
                             .positions = cache.positions,
                             .tokens = static_cast<int>(qkv.rows),
                             .first = static_cast<int>(first),
                             .heads = static_cast<int>(shape.heads),
                             .kv_heads = static_cast<int>(shape.kv_heads),
                             .dim = static_cast<int>(shape.head_dim),
                             .window = static_cast<int>(shape.window)},
                            static_cast<cudaStream_t>(context.stream));
    return;
  }
  store_keys(shape, qkv, cache, first);
  const WorkspaceFrame frame(*context.workspace);
  CpuAttention(context, shape, qkv, cache, first, out).run();
}

}  // namespace shori
