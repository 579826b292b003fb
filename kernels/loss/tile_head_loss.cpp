// A task is a block of rows. It goes through the vocabulary in slabs twice: for the logits, which it keeps as bf16, with a
// running maximum and sum of each row; and for their gradient, which goes straight into the second product. The head is
// packed once for all tasks in both directions.
#include "kernels/loss/tile_head_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "shori/util/ignored_label.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Columns of a slab. They are part of the arithmetic: sums of e^x are added slab by slab.
constexpr std::int64_t kSlab = 1280;
static_assert(kSlab % kPanelColumns == 0);

// The softmax of one row as far as it has been seen: e^(logit - top) summed.
struct RunningSum {
  float top = -std::numeric_limits<float>::infinity();
  float sum = 0.0f;

  // Replaces the logits by e^(logit - top).
  void add(float* logits, std::int64_t count) {
    const float largest = max_of_row(logits, count);
    const float before = top;
    if (!(largest <= top)) top = largest;  // NaN too
    float rescale = before - top;
    exp_shifted_row(1.0f, 0.0f, &rescale, 1);
    sum = sum * rescale + exp_shifted_row(1.0f, top, logits, count);
  }
};

class TileHead {
 public:
  TileHead(const OpContext& context, ConstTensorView h, ConstTensorView weight, std::span<const std::int32_t> targets,
           float row_weight, std::span<float> losses, std::optional<TensorView> dh)
      : vocabulary_(weight.rows),
        cols_(weight.cols),
        depth_(padded(weight.cols)),
        rows_of_task_(h.rows >= 512 * worker_count() ? 256 : 128),
        targets_(targets),
        row_weight_(row_weight),
        losses_(losses),
        dh_(dh),
        h_(packed_rows(context, h)),
        logits_weight_(pack_logits_weight(context, weight)),
        gradient_weight_(dh ? pack_gradient_weight(context, weight) : nullptr),
        scratch_(context, {rows_of_task_ * kSlab, rows_of_task_ * vocabulary_ / 2 + 1, rows_of_task_ * depth_,
                           rows_of_task_ * kSlab / 2, kLeftRows * kSlab / 2}) {}

  void run() const {
    for_each_task(ceil_div(h_.count, rows_of_task_), [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t first = task * rows_of_task_;
      run_task(first, std::min(rows_of_task_, h_.count - first), worker);
    });
  }

 private:
  // What a worker has for its rows.
  struct Block {
    std::int64_t first, count;
    float* slab;      // [count, kSlab] logits of a slab
    Bf16* logits;     // [count, V]
    float* gradient;  // [count, C]
    Bf16* packed;     // the gradient of a slab's logits, packed
    Bf16* rows;       // [kLeftRows, kSlab]: what is packed next
  };

  std::int64_t width_of_slab(std::int64_t first) const { return std::min(kSlab, vocabulary_ - first); }
  bool is_ignored(std::int64_t row) const { return targets_[static_cast<std::size_t>(row)] == kIgnoredLabel; }

  // head^T [C, V]. A slab is a run of its panels.
  const Bf16* pack_logits_weight(const OpContext& context, ConstTensorView weight) const {
    Bf16* packed = context.workspace->take_array<Bf16>(static_cast<std::size_t>(packed_elements(cols_, vocabulary_)));
    for_each_task(ceil_div(vocabulary_, kPanelColumns), [&](std::int64_t task, std::int64_t) {
      const std::int64_t row = task * kPanelColumns;
      pack_panel_of_transposed(weight.row<Bf16>(row), weight.stride, cols_, std::min(kPanelColumns, vocabulary_ - row),
                               packed + row * depth_);
    });
    return packed;
  }
  // head [V, C]: each slab is an operand of its own.
  const Bf16* pack_gradient_weight(const OpContext& context, ConstTensorView weight) const {
    Bf16* packed = context.workspace->take_array<Bf16>(static_cast<std::size_t>(packed_elements(cols_, vocabulary_)));
    for_each_task(ceil_div(vocabulary_, kSlab), [&](std::int64_t task, std::int64_t) {
      const std::int64_t row = task * kSlab, width = width_of_slab(row);
      for (std::int64_t col = 0; col < cols_; col += kPanelColumns) {
        pack_panel(weight.row<Bf16>(row) + col, weight.stride, width, std::min(kPanelColumns, cols_ - col),
                   packed + row * depth_ + col * padded(width));
      }
    });
    return packed;
  }

  void run_task(std::int64_t first, std::int64_t count, std::int64_t worker) const {
    const auto [slab, logits, gradient, packed, rows] = scratch_.of(worker);
    const Block block{first,
                      count,
                      slab,
                      reinterpret_cast<Bf16*>(logits),
                      gradient,
                      reinterpret_cast<Bf16*>(packed),
                      reinterpret_cast<Bf16*>(rows)};
    RunningSum sums[256];
    for (std::int64_t slab_first = 0; slab_first < vocabulary_; slab_first += kSlab)
      add_logits(block, slab_first, sums);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t target = targets_[static_cast<std::size_t>(first + i)];
      losses_[static_cast<std::size_t>(first + i)] =
          target == kIgnoredLabel
              ? 0.0f
              : (sums[i].top - to_float(block.logits[i * vocabulary_ + target])) + std::log(sums[i].sum);
    }
    if (!dh_) return;
    for (std::int64_t slab_first = 0; slab_first < vocabulary_; slab_first += kSlab) {
      add_gradient(block, slab_first, sums);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      float* row = gradient + i * cols_;
      // A row of zeros times a head with Inf or NaN would not be zero.
      if (is_ignored(first + i)) std::fill_n(row, cols_, 0.0f);
      store_row(row, *dh_, first + i, 0, cols_);
    }
  }

  void add_logits(const Block& block, std::int64_t slab_first, RunningSum* sums) const {
    const std::int64_t width = width_of_slab(slab_first);
    multiply({.a = h_.data + block.first * depth_,
              .a_depth = depth_,
              .b = logits_weight_ + slab_first * depth_,
              .b_depth = depth_,
              .rows = block.count,
              .k = depth_,
              .cols = width,
              .c = block.slab,
              .c_stride = kSlab});
    for (std::int64_t i = 0; i < block.count; ++i) {
      if (is_ignored(block.first + i)) continue;
      float* row = block.slab + i * kSlab;
      Bf16* kept = block.logits + i * vocabulary_ + slab_first;
      narrow_row(row, kept, width);
      widen_row(kept, row, width);
      sums[i].add(row, width);
    }
  }

  // The gradient of one row of logits of a slab.
  void gradient_of_row(const Block& block, std::int64_t i, std::int64_t slab_first, const RunningSum& sum,
                       Bf16* out) const {
    const std::int64_t width = width_of_slab(slab_first);
    if (is_ignored(block.first + i)) {
      std::fill_n(out, width, Bf16{0});
      return;
    }
    float* row = block.slab;
    widen_row(block.logits + i * vocabulary_ + slab_first, row, width);
    exp_shifted_row(1.0f, sum.top, row, width);
    const std::int64_t target = targets_[static_cast<std::size_t>(block.first + i)] - slab_first;
    const bool has_target = target >= 0 && target < width;
    const float target_gradient = has_target ? (row[target] / sum.sum - 1.0f) * row_weight_ : 0.0f;
    scale_row(row_weight_ / sum.sum, row, width);
    if (has_target) row[target] = target_gradient;
    narrow_row(row, out, width);
  }

  void add_gradient(const Block& block, std::int64_t slab_first, const RunningSum* sums) const {
    const std::int64_t width = width_of_slab(slab_first);
    for (std::int64_t first = 0; first < block.count; first += kLeftRows) {
      const std::int64_t count = std::min(kLeftRows, block.count - first);
      for (std::int64_t i = 0; i < count; ++i) {
        gradient_of_row(block, first + i, slab_first, sums[first + i], block.rows + i * kSlab);
      }
      pack_left_rows(block.rows, kSlab, count, width, block.packed + first * padded(width));
    }
    multiply({.a = block.packed,
              .a_depth = padded(width),
              .b = gradient_weight_ + slab_first * depth_,
              .b_depth = padded(width),
              .rows = block.count,
              .k = width,
              .cols = cols_,
              .c = block.gradient,
              .c_stride = cols_,
              .sum = slab_first == 0 ? Sum::kReplace : Sum::kAdd});
  }

  std::int64_t vocabulary_, cols_, depth_;
  std::int64_t rows_of_task_;  // no bit depends on it
  std::span<const std::int32_t> targets_;
  float row_weight_;
  std::span<float> losses_;
  std::optional<TensorView> dh_;
  PackedRows h_;
  const Bf16 *logits_weight_, *gradient_weight_;
  WorkerScratch<5> scratch_;
};

}  // namespace

void tile_head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight,
                    std::span<const std::int32_t> targets, double gradient_weight, std::span<float> losses,
                    std::optional<TensorView> dh) {
  TileHead(context, h, weight, targets, static_cast<float>(gradient_weight), losses, dh).run();
}

}  // namespace shori
