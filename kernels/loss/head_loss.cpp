#include "shori/ops/head_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/device_matmul.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/loss/head_loss_launch.h"
#include "shori/ops/device_limits.h"
#include "shori/util/ignored_label.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Rows of logits that one worker holds; all workers together never hold more than one chunk.
constexpr std::int64_t kRows = 128;
constexpr std::int64_t kMaxWorkers = kLossChunk / kRows;
// Vocabulary is walked in slabs whose weights stay in the cache: 85 instead of 50 GFLOP/s at hidden 128. The gradient
// adds the slabs in order.
constexpr std::int64_t kSlab = 2048;

// logits -> loss of the row; with `weight` (else null) the logits become their gradient.
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
  SHORI_CHECK(targets.device != nullptr || targets.size() == 0, "head_loss: targets are not on the device");
  const std::int64_t vocabulary = weight.rows, most_rows = std::min(h.rows, kLossChunk);
  auto* logits = context.workspace->take_array<Bf16>(static_cast<std::size_t>(most_rows * vocabulary));
  for (std::int64_t first = 0; first < h.rows; first += kLossChunk) {
    const std::int64_t count = std::min(kLossChunk, h.rows - first);
    const TensorView chunk{logits, DType::kBf16, count, vocabulary, vocabulary};
    device_matmul(context, MatmulB::kTransposed, h.slice_rows(first, count), weight, chunk);
    launch_head_loss({logits, targets.device + first, losses + first, count, vocabulary,
                      static_cast<float>(gradient_weight), dh.has_value()},
                     static_cast<cudaStream_t>(context.stream));
    if (dh) device_matmul(context, MatmulB::kPlain, chunk, weight, dh->slice_rows(first, count));
  }
}

}  // namespace

void head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight, const Int32Array& targets,
               double gradient_weight, std::span<float> losses, std::optional<TensorView> dh) {
  check_context(context, "head_loss");
  check_activation("head_loss", "h", h);
  check_matrix("head_loss", "weight", weight, h.dtype, weight.rows, h.cols);
  if (dh) check_matrix("head_loss", "dh", *dh, h.dtype, h.rows, h.cols);
  SHORI_CHECK(static_cast<std::int64_t>(targets.size()) == h.rows && losses.size() == targets.size(),
              "head_loss: one target and one loss a token are needed");
  const std::int64_t vocabulary = weight.rows, cols = h.cols;
  for (const std::int32_t target : targets.host) {
    SHORI_CHECK(target == kIgnoredLabel || (target >= 0 && target < vocabulary),
                "head_loss: target " + std::to_string(target) + " is outside the vocabulary");
  }
  log_work(context, {.flop = (dh ? 2 : 1) * product_flop(h.rows, vocabulary, cols)});

  const WorkspaceFrame frame(*context.workspace);
  if (on_device(context)) {
    head_loss_on_device(context, h, weight, targets, gradient_weight, losses.data(), dh);
    return;
  }
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
      if (targets.host[token] == kIgnoredLabel) {
        std::fill_n(row, vocabulary, 0.0f);
      } else {
        losses[token] = loss_of_row(h.dtype, targets.host[token], dh ? &row_weight : nullptr, row, vocabulary);
      }
    }
    if (!dh) return;
    sum_over_slabs(dense(logits, count, vocabulary), head, gradient);
    for (std::int64_t i = 0; i < count; ++i) {
      if (targets.host[static_cast<std::size_t>(first + i)] == kIgnoredLabel)
        std::fill_n(gradient + i * cols, cols, 0.0f);
      store_row(gradient + i * cols, *dh, first + i, 0, cols);
    }
  });
}

std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary) {
  return device_bytes(std::min(tokens, kLossChunk) * vocabulary * static_cast<std::int64_t>(sizeof(Bf16))) +
         kMatmulWorkspaceBytes;
}

}  // namespace shori
