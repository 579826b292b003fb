// The head never stores logits of all tokens: it computes a tile of them, turns it into losses and (in place) into its
// gradient, and multiplies it with the head again. On the CPU a tile is 128 tokens of one worker, on a device one chunk.
#include "shori/ops/head_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/device_matmul.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rows.h"
#include "kernels/loss/head_loss_launch.h"
#include "kernels/loss/tile_head_loss.h"
#include "shori/ops/device_limits.h"
#include "shori/util/ignored_label.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {

namespace {

// Rows of logits per worker. All workers together hold at most one chunk.
constexpr std::int64_t kRows = 128;
constexpr std::int64_t kMaxWorkers = kLossChunk / kRows;
// The vocabulary is processed in slabs whose weights fit in the cache: 85 instead of 50 GFLOP/s, measured at hidden 128.
// The gradient adds the slabs in order, for determinism.
constexpr std::int64_t kSlab = 2048;

// Returns the loss of one row of logits. If `weight` is not null, the logits become their gradient times *weight.
float loss_of_row(DType dtype, std::int32_t target, const float* weight, float* logits, std::int64_t vocabulary) {
  round_row(dtype, logits, vocabulary);
  const float target_logit = logits[target];
  const float shift = max_of_row(logits, vocabulary);
  const float sum = exp_shifted_row(1.0f, shift, logits, vocabulary);
  const float loss = (shift - target_logit) + std::log(sum);
  if (weight != nullptr) {
    const float target_gradient = (logits[target] / sum - 1.0f) * *weight;
    scale_row(*weight / sum, logits, vocabulary);
    logits[target] = target_gradient;
    round_row(dtype, logits, vocabulary);
  }
  return loss;
}

// logits [rows, V] = h head^T
void multiply_by_slabs(const ConstMatrix& h, const ConstMatrix& head, float* logits) {
  for (std::int64_t first = 0; first < head.rows; first += kSlab) {
    const std::int64_t width = std::min(kSlab, head.rows - first);
    matmul(h, head.slice_rows(first, width).transposed(), logits + first, head.rows);
  }
}

// gradient [rows, C] = dlogits head
void sum_over_slabs(const ConstMatrix& dlogits, const ConstMatrix& head, float* gradient) {
  for (std::int64_t first = 0; first < head.rows; first += kSlab) {
    const std::int64_t width = std::min(kSlab, head.rows - first);
    matmul(dlogits.slice_cols(first, width), head.slice_rows(first, width), gradient, head.cols,
           first == 0 ? Sum::kReplace : Sum::kAdd);
  }
}

void head_loss_on_device(const OpContext& context, ConstTensorView h, ConstTensorView weight, const Int32Array& targets,
                         double gradient_weight, float* losses, std::optional<TensorView> dh) {
  check_device_rows("head_loss", "h", h);
  check_device_rows("head_loss", "weight", weight);
  if (dh) check_device_rows("head_loss", "dh", *dh);
  SHORI_CHECK(weight.rows % 8 == 0, "head_loss: a device takes a vocabulary that is a multiple of 8");
  check_device_integers("head_loss", "targets", targets);
  const std::int64_t vocabulary = weight.rows, max_rows = std::min(h.rows, kLossChunk);
  auto* logits = context.workspace->take_array<Bf16>(static_cast<std::size_t>(max_rows * vocabulary));
  for (std::int64_t first = 0; first < h.rows; first += kLossChunk) {
    const std::int64_t count = std::min(kLossChunk, h.rows - first);
    const TensorView chunk{logits, DType::kBf16, count, vocabulary, vocabulary};
    device_matmul(context, MatmulB::kTransposed, h.slice_rows(first, count), weight, chunk);
    launch_head_loss({.logits = logits,
                      .targets = targets.device + first,
                      .losses = losses + first,
                      .rows = count,
                      .vocabulary = vocabulary,
                      .weight = static_cast<float>(gradient_weight),
                      .with_gradient = dh.has_value()},
                     static_cast<cudaStream_t>(context.stream));
    if (dh) device_matmul(context, MatmulB::kPlain, chunk, weight, dh->slice_rows(first, count));
  }
}

void head_loss_on_cpu(const OpContext& context, ConstTensorView h, ConstTensorView weight,
                      std::span<const std::int32_t> targets, double gradient_weight, std::span<float> losses,
                      std::optional<TensorView> dh) {
  const std::int64_t vocabulary = weight.rows, cols = h.cols;
  const ConstMatrix input = widened(context, h), head = widened(context, weight);
  const auto row_weight = static_cast<float>(gradient_weight);
  const WorkerScratch scratch(context, {kRows * vocabulary, kRows * cols}, std::min(worker_count(), kMaxWorkers));
  for_each_task(ceil_div(h.rows, kRows), kMaxWorkers, [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t first = task * kRows, count = std::min(kRows, h.rows - first);
    const auto [logits, gradient] = scratch.of(worker);
    multiply_by_slabs(input.slice_rows(first, count), head, logits);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto token = static_cast<std::size_t>(first + i);
      float* row = logits + i * vocabulary;
      losses[token] = 0.0f;
      if (targets[token] == kIgnoredLabel) {
        std::fill_n(row, vocabulary, 0.0f);
      } else {
        losses[token] = loss_of_row(h.dtype, targets[token], dh ? &row_weight : nullptr, row, vocabulary);
      }
    }
    if (!dh) return;
    sum_over_slabs(dense(logits, count, vocabulary), head, gradient);
    for (std::int64_t i = 0; i < count; ++i) {
      // A row of zero logits times a head with Inf or NaN would not be zero.
      if (targets[static_cast<std::size_t>(first + i)] == kIgnoredLabel) {
        std::fill_n(gradient + i * cols, cols, 0.0f);
      }
      store_row(gradient + i * cols, *dh, first + i, 0, cols);
    }
  });
}

}  // namespace

void head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight, const Int32Array& targets,
               double gradient_weight, std::span<float> losses, std::optional<TensorView> dh) {
  check_context(context, "head_loss");
  check_activation("head_loss", "h", h);
  check_matrix("head_loss", "weight", weight, h.dtype, weight.rows, h.cols);
  if (dh) check_matrix("head_loss", "dh", *dh, h.dtype, h.rows, h.cols);
  SHORI_CHECK(static_cast<std::int64_t>(targets.size()) == h.rows && losses.size() == targets.size(),
              "head_loss: each token needs one target and one loss");
  const std::int64_t vocabulary = weight.rows;
  for (const std::int32_t target : targets.host) {
    SHORI_CHECK(target == kIgnoredLabel || (target >= 0 && target < vocabulary),
                concat("head_loss: target ", target, " is outside the vocabulary"));
  }
  log_work(context, {.flop = (dh ? 2 : 1) * product_flop(h.rows, vocabulary, h.cols)});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    head_loss_on_device(context, h, weight, targets, gradient_weight, losses.data(), dh);
    return;
  }
  if (h.dtype == DType::kBf16 && use_tile_products()) {
    tile_head_loss(context, h, weight, targets.host, gradient_weight, losses, dh);
  } else {
    head_loss_on_cpu(context, h, weight, targets.host, gradient_weight, losses, dh);
  }
}

std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary) {
  return device_bytes(std::min(tokens, kLossChunk) * vocabulary * static_cast<std::int64_t>(sizeof(Bf16))) +
         kMatmulWorkspaceBytes;
}

}  // namespace shori
