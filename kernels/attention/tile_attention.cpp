// Keys and values of a sample are packed once for all query heads and blocks that read them. A block's keys begin at a
// multiple of 32 from the start of its sample, so sums do not depend on where in the pack a sample lies.
#include "kernels/attention/tile_attention.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/attention/backward_steps.h"
#include "kernels/attention/output_gradient.h"
#include "kernels/attention/query_block.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// The block with its keys widened to whole steps of tiles. Keys that no query sees get a probability of zero.
QueryBlock whole_steps(QueryBlock block) {
  const std::int64_t end = block.keys + block.key_count;
  block.keys = block.start + (block.keys - block.start) / kTileDepth * kTileDepth;
  block.key_count = padded(end - block.keys);
  return block;
}

Bf16* take_bf16(const OpContext& context, std::int64_t count) {
  return context.workspace->take_array<Bf16>(static_cast<std::size_t>(count));
}
Bf16* as_bf16(float* memory) { return reinterpret_cast<Bf16*>(memory); }

// Rows [first, first + count) x columns [col, col + width) of a matrix as the right operand of a product: the columns as k
// (kTransposed), or the rows.
enum class RightOperand : std::uint8_t { kPlain, kTransposed };
void pack_right(ConstTensorView matrix, std::int64_t first, std::int64_t count, std::int64_t col, std::int64_t width,
                RightOperand kind, Bf16* out) {
  const std::int64_t stride = matrix.stride;
  if (kind == RightOperand::kPlain) {
    for (std::int64_t panel = 0; panel < width; panel += kPanelColumns) {
      pack_panel(matrix.row<Bf16>(first) + col + panel, stride, count, std::min(kPanelColumns, width - panel),
                 out + panel * padded(count));
    }
    return;
  }
  for (std::int64_t panel = 0; panel < count; panel += kPanelColumns) {
    pack_panel_of_transposed(matrix.row<Bf16>(first + panel) + col, stride, width,
                             std::min(kPanelColumns, count - panel), out + panel * padded(width));
  }
}

void pack_left(const Bf16* rows, std::int64_t stride, std::int64_t count, std::int64_t k, Bf16* out) {
  for (std::int64_t first = 0; first < count; first += kLeftRows) {
    pack_left_rows(rows + first * stride, stride, std::min(kLeftRows, count - first), k, out + first * padded(k));
  }
}

// One of k and v, packed for each sample and key/value head.
class PackedHeads {
 public:
  // `first_column` of head 0 in qkv.
  PackedHeads(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
              std::span<const std::int32_t> cu_seqlens, std::int64_t first_column, RightOperand kind)
      : depth_(padded(shape.head_dim)), kind_(kind) {
    for (std::size_t sample = 0; sample + 1 < cu_seqlens.size(); ++sample) {
      offsets_.push_back(tokens_);
      tokens_ += padded(cu_seqlens[sample + 1] - cu_seqlens[sample]);
    }
    offsets_.push_back(tokens_);
    memory_ = take_bf16(context, shape.kv_heads * tokens_ * depth_);
    const auto samples = static_cast<std::int64_t>(offsets_.size()) - 1;
    for_each_task(samples * shape.kv_heads, [&](std::int64_t task, std::int64_t) {
      const auto sample = static_cast<std::size_t>(task / shape.kv_heads);
      const std::int64_t head = task % shape.kv_heads, start = cu_seqlens[sample], end = cu_seqlens[sample + 1];
      pack_right(qkv, start, end - start, first_column + head * shape.head_dim, shape.head_dim, kind,
                 memory_ + (head * tokens_ + offsets_[sample]) * depth_);
    });
  }

  // The operand of a product from key `first` of the sample on: the keys are its columns (kTransposed) or its k.
  void set(TileProduct& product, std::size_t sample, std::int64_t head, std::int64_t first) const {
    const Bf16* base = memory_ + (head * tokens_ + offsets_[sample]) * depth_;
    const bool transposed = kind_ == RightOperand::kTransposed;
    product.b = base + first * (transposed ? depth_ : kPanelColumns);
    product.b_depth = transposed ? depth_ : offsets_[sample + 1] - offsets_[sample];
  }

 private:
  std::int64_t depth_, tokens_ = 0;
  RightOperand kind_;
  std::vector<std::int64_t> offsets_;  // of each sample, in padded tokens
  Bf16* memory_ = nullptr;
};

// Blocks of all samples, with the sample of each.
struct SampleBlock {
  std::size_t sample;
  QueryBlock block;
};
std::vector<SampleBlock> sample_blocks(std::span<const std::int32_t> cu_seqlens, std::int64_t window) {
  std::vector<SampleBlock> blocks;
  for (std::size_t sample = 0; sample + 1 < cu_seqlens.size(); ++sample) {
    for (std::int64_t first = cu_seqlens[sample]; first < cu_seqlens[sample + 1]; first += kQueries) {
      blocks.push_back({sample, whole_steps(query_block(cu_seqlens[sample], cu_seqlens[sample + 1], first, window))});
    }
  }
  return blocks;
}

std::int64_t max_width(std::span<const SampleBlock> blocks) {
  std::int64_t width = 0;
  for (const SampleBlock& item : blocks) width = std::max(width, item.block.key_count);
  return width;
}

// Rounds fp32 rows [count, width] to bf16, in another array.
void narrow_rows(const float* in, std::int64_t count, std::int64_t width, Bf16* out) {
  for (std::int64_t i = 0; i < count; ++i) narrow_row(in + i * width, out + i * width, width);
}

class TileBackward {
 public:
  TileBackward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
               std::span<const std::int32_t> cu_seqlens, ConstTensorView lse, ConstTensorView dout, const float* delta,
               TensorView dqkv)
      : shape_(shape),
        dim_(shape.head_dim),
        depth_(padded(shape.head_dim)),
        qkv_(qkv),
        cu_seqlens_(cu_seqlens),
        lse_(lse),
        dout_(dout),
        delta_(delta),
        dqkv_(dqkv),
        sums_(context.workspace->take_array<float>(static_cast<std::size_t>(qkv.rows * dqkv.cols))),
        keys_transposed_(context, shape, qkv, cu_seqlens, shape.heads * dim_, RightOperand::kTransposed),
        values_transposed_(context, shape, qkv, cu_seqlens, (shape.heads + shape.kv_heads) * dim_,
                           RightOperand::kTransposed),
        keys_(context, shape, qkv, cu_seqlens, shape.heads * dim_, RightOperand::kPlain),
        width_(max_width(sample_blocks(cu_seqlens, shape.window))),
        scratch_(context, {kQueries * width_, kQueries * width_, kQueries * width_ / 2, kQueries * width_ / 2,
                           kQueries * depth_}) {}

  void run() const {
    BackwardSteps(shape_, cu_seqlens_).run([&](const BackwardStep& step, Turn& dk, Turn& dv, std::int64_t worker) {
      run_step(step, dk, dv, worker);
      if (step.is_last) store(step);
    });
  }

 private:
  float* sum(std::int64_t row, std::int64_t col) const { return sums_ + row * dqkv_.cols + col; }

  // The gradients of a key/value head and its query heads.
  void store(const BackwardStep& step) const {
    const std::int64_t group = shape_.heads / shape_.kv_heads;
    const Head columns = head_columns(shape_, step.kv * group);
    for (std::int64_t row = step.start; row < step.end; ++row) {
      store_row(sum(row, columns.q), dqkv_, row, columns.q, group * dim_);
      store_row(sum(row, columns.k), dqkv_, row, columns.k, dim_);
      store_row(sum(row, columns.v), dqkv_, row, columns.v, dim_);
    }
  }

  // c [count, width] = rows [count, D] right^T, where the rows are columns of a matrix of tokens.
  void multiply_by_keys(const SampleBlock& item, ConstTensorView matrix, std::int64_t col, std::int64_t kv,
                        const PackedHeads& right, Bf16* packed, float* c) const {
    const QueryBlock& block = item.block;
    pack_left(matrix.row<Bf16>(block.first) + col, matrix.stride, block.count, dim_, packed);
    TileProduct product{.a = packed, .a_depth = depth_, .rows = block.count, .k = dim_, .cols = block.key_count};
    product.c = c;
    product.c_stride = block.key_count;
    right.set(product, item.sample, kv, block.keys - block.start);
    multiply(product);
  }

  // Turns scores and the products of dout and v into bf16 probabilities and gradients of the scores.
  void score_gradients(const QueryBlock& block, std::int64_t head, float* p, float* ds, Bf16* p_out,
                       Bf16* ds_out) const {
    const float* lse = lse_.row<float>(head) + block.first;
    const float* delta = delta_ + head * qkv_.rows + block.first;
    for (std::int64_t i = 0; i < block.count; ++i) {
      const VisibleKeys seen = visible(block, i, shape_.window);
      float *p_row = p + i * block.key_count, *ds_row = ds + i * block.key_count;
      attention_gradient_row(scale_of(shape_), lse[i], delta[i], p_row + seen.low, ds_row + seen.low,
                             seen.high - seen.low);
      for (float* row : {p_row, ds_row}) {
        std::fill(row, row + seen.low, 0.0f);
        std::fill(row + seen.high, row + block.key_count, 0.0f);
      }
    }
    narrow_rows(p, block.count, block.key_count, p_out);
    narrow_rows(ds, block.count, block.key_count, ds_out);
  }

  // sums of the block's keys += values^T rows, where values are [count, keys] and the rows columns of a matrix of tokens.
  void add_to_keys(const BackwardStep& step, const QueryBlock& block, Turn& turn, const Bf16* values,
                   ConstTensorView matrix, std::int64_t col, std::int64_t target, Bf16* left, Bf16* right) const {
    pack_right(matrix, block.first, block.count, col, dim_, RightOperand::kPlain, right);
    const std::int64_t keys = std::min(block.key_count, step.end - block.keys), depth = padded(block.count);
    for (std::int64_t first = 0; first < keys; first += kLeftRows) {
      pack_left_rows_of_transposed(values + first, block.key_count, std::min(kLeftRows, keys - first), block.count,
                                   left + first * depth);
    }
    turn.take([&] {
      if (step.number == 0) {
        for (std::int64_t row = step.start; row < step.end; ++row) std::fill_n(sum(row, target), dim_, 0.0f);
      }
      multiply({.a = left,
                .a_depth = depth,
                .b = right,
                .b_depth = depth,
                .rows = keys,
                .k = block.count,
                .cols = dim_,
                .c = sum(block.keys, target),
                .c_stride = dqkv_.cols,
                .sum = Sum::kAdd});
    });
  }

  void run_step(const BackwardStep& step, Turn& dk, Turn& dv, std::int64_t worker) const {
    const SampleBlock item{step.sample, whole_steps(step.block)};
    const QueryBlock& block = item.block;
    const Head columns = head_columns(shape_, step.head);
    const std::int64_t width = block.key_count;
    const auto [p, ds, p_memory, ds_memory, small] = scratch_.of(worker);
    Bf16 *p_bf16 = as_bf16(p_memory), *ds_bf16 = as_bf16(ds_memory);
    multiply_by_keys(item, qkv_, columns.q, step.kv, keys_transposed_, as_bf16(small), p);
    multiply_by_keys(item, dout_, columns.q, step.kv, values_transposed_, as_bf16(small), ds);
    score_gradients(block, step.head, p, ds, p_bf16, ds_bf16);

    // The fp32 scores are no longer needed: their memory holds packed operands.
    Bf16* packed = as_bf16(p);
    pack_left(ds_bf16, width, block.count, width, packed);
    TileProduct product{.a = packed, .a_depth = width, .rows = block.count, .k = width, .cols = dim_};
    product.c = sum(block.first, columns.q);
    product.c_stride = dqkv_.cols;
    keys_.set(product, item.sample, step.kv, block.keys - block.start);
    multiply(product);
    add_to_keys(step, block, dk, ds_bf16, qkv_, columns.q, columns.k, packed, as_bf16(small));
    add_to_keys(step, block, dv, p_bf16, dout_, columns.q, columns.v, packed, as_bf16(small));
  }

  const AttentionShape& shape_;
  std::int64_t dim_, depth_;
  ConstTensorView qkv_;
  std::span<const std::int32_t> cu_seqlens_;
  ConstTensorView lse_, dout_;
  const float* delta_;
  TensorView dqkv_;
  float* sums_;  // fp32 of dqkv
  PackedHeads keys_transposed_, values_transposed_, keys_;
  std::int64_t width_;
  WorkerScratch<5> scratch_;  // p, ds, both as bf16, an operand of [kQueries, D]
};

}  // namespace

void tile_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                    std::span<const std::int32_t> cu_seqlens, TensorView out, TensorView lse) {
  const std::int64_t dim = shape.head_dim, depth = padded(dim);
  const PackedHeads keys(context, shape, qkv, cu_seqlens, shape.heads * dim, RightOperand::kTransposed);
  const PackedHeads values(context, shape, qkv, cu_seqlens, (shape.heads + shape.kv_heads) * dim, RightOperand::kPlain);
  const std::vector<SampleBlock> blocks = sample_blocks(cu_seqlens, shape.window);
  const std::int64_t most = max_width(blocks);
  const WorkerScratch scratch(context,
                              {kQueries * most, kQueries * most / 2, kQueries * depth / 2, kQueries * dim, kQueries});
  for_each_task(static_cast<std::int64_t>(blocks.size()) * shape.heads, [&](std::int64_t task, std::int64_t worker) {
    const auto& [sample, block] = blocks[static_cast<std::size_t>(task / shape.heads)];
    const std::int64_t index = task % shape.heads, kv = index / (shape.heads / shape.kv_heads), width = block.key_count;
    const Head head = head_columns(shape, index);
    const auto [scores, rounded, queries, result, inverse_sum] = scratch.of(worker);
    pack_left(qkv.row<Bf16>(block.first) + head.q, qkv.stride, block.count, dim, as_bf16(queries));
    TileProduct product{.a = as_bf16(queries), .a_depth = depth, .rows = block.count, .k = dim, .cols = width};
    product.c = scores;
    product.c_stride = width;
    keys.set(product, sample, kv, block.keys - block.start);
    multiply(product);
    softmax_block(shape, block, scores, inverse_sum, lse.row<float>(index));
    narrow_rows(scores, block.count, width, as_bf16(rounded));
    pack_left(as_bf16(rounded), width, block.count, width, as_bf16(scores));
    product = {.a = as_bf16(scores), .a_depth = width, .rows = block.count, .k = width, .cols = dim};
    product.c = result;
    product.c_stride = dim;
    values.set(product, sample, kv, block.keys - block.start);
    multiply(product);
    store_block(block, inverse_sum, result, out, head.q, dim);
  });
}

void tile_attention_backward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                             std::span<const std::int32_t> cu_seqlens, ConstTensorView out, ConstTensorView lse,
                             ConstTensorView fused_dout, const std::optional<LoraInputGradient>& lora,
                             TensorView dqkv) {
  const std::int64_t tokens = qkv.rows, cols = shape.heads * shape.head_dim;
  float* delta = context.workspace->take_array<float>(static_cast<std::size_t>(shape.heads * tokens));
  const TensorView dout{take_bf16(context, tokens * cols), DType::kBf16, tokens, cols, cols};
  {
    const WorkspaceFrame frame(*context.workspace);
    const InputGradient source(context, "attention_backward", fused_dout, cols, lora);
    const ConstMatrix wide = load_output_gradient(context, shape, out, source, DType::kBf16, delta);
    for_each_row_range(tokens, cols, [&](std::int64_t first, std::int64_t last, std::int64_t) {
      for (std::int64_t row = first; row < last; ++row) store_row(wide.data + row * cols, dout, row, 0, cols);
    });
  }
  TileBackward(context, shape, qkv, cu_seqlens, lse, dout, delta, dqkv).run();
}

}  // namespace shori
