// RMSNorm. The ops of this folder read and write whole rows and are limited by memory, so each does all it can in one pass:
// the norm adds the residual before it, and the backward ops complete the gradient they read with its LoRA part.
#include "shori/ops/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/layer/rms_norm_launch.h"
#include "kernels/lora/lora_input.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr const char* kForward = "rms_norm";
constexpr const char* kBackward = "rms_norm_backward";

float reciprocal_rms(const float* h, std::int64_t cols, float eps) {
  return 1.0f / std::sqrt(dot_rows(h, h, cols) / static_cast<float>(cols) + eps);
}

void rms_norm_on_device(const OpContext& context, ConstTensorView x, std::optional<ConstTensorView> delta,
                        std::optional<TensorView> h, ConstTensorView weight, float eps, TensorView y) {
  for (const auto& [name, view] : {std::pair{"x", x},
                                   {"delta", delta.value_or(x)},
                                   {"h", h ? ConstTensorView(*h) : x},
                                   {"weight", weight},
                                   {"y", ConstTensorView(y)}}) {
    check_device_rows(kForward, name, view);
  }
  SHORI_CHECK(x.cols <= kMaxNormColumns, "rms_norm: rows are too long for the kernel");
  launch_rms_norm({.x = x.row<Bf16>(0),
                   .delta = delta ? delta->row<Bf16>(0) : nullptr,
                   .h = h ? h->row<Bf16>(0) : nullptr,
                   .weight = weight.row<Bf16>(0),
                   .y = y.row<Bf16>(0),
                   .x_stride = x.stride,
                   .delta_stride = delta ? delta->stride : 0,
                   .h_stride = h ? h->stride : 0,
                   .y_stride = y.stride,
                   .rows = x.rows,
                   .cols = x.cols,
                   .eps = eps},
                  static_cast<cudaStream_t>(context.stream));
}

void rms_norm_backward_on_device(const OpContext& context, ConstTensorView h, ConstTensorView weight, float eps,
                                 ConstTensorView fused_dy, const std::optional<LoraInputGradient>& lora,
                                 const std::optional<ConstTensorView>& residual, TensorView dh) {
  for (const auto& [name, view] : {std::pair{"h", h},
                                   {"weight", weight},
                                   {"residual_gradient", residual.value_or(h)},
                                   {"dh", ConstTensorView(dh)}}) {
    check_device_rows(kBackward, name, view);
  }
  SHORI_CHECK(h.cols <= kMaxNormColumns, "rms_norm_backward: rows are too long for the kernel");
  const WorkspaceFrame frame(*context.workspace);
  launch_rms_norm_backward(input_gradient_launch(context, kBackward, fused_dy, h.cols, lora),
                           {.h = h.row<Bf16>(0),
                            .weight = weight.row<Bf16>(0),
                            .residual = residual ? residual->row<Bf16>(0) : nullptr,
                            .dh = dh.row<Bf16>(0),
                            .h_stride = h.stride,
                            .residual_stride = residual ? residual->stride : 0,
                            .dh_stride = dh.stride,
                            .eps = eps},
                           static_cast<cudaStream_t>(context.stream));
}

void rms_norm_on_cpu(const OpContext& context, ConstTensorView x, const std::optional<ConstTensorView>& delta,
                     const std::optional<TensorView>& h, ConstTensorView weight, float eps, TensorView y) {
  const WorkspaceFrame frame(*context.workspace);
  const ConstMatrix scale = widened(context, weight);
  const WorkerScratch scratch(context, {x.cols, x.cols});
  for_each_row_range(x.rows, x.cols, [&](std::int64_t first, std::int64_t last, std::int64_t worker) {
    const auto [value, added] = scratch.of(worker);
    for (std::int64_t row = first; row < last; ++row) {
      load_row(x, row, 0, x.cols, value);
      if (delta) {
        load_row(*delta, row, 0, x.cols, added);
        add_to_row(added, value, x.cols);
        round_row(x.dtype, value, x.cols);
      }
      if (h) store_row(value, *h, row, 0, x.cols);
      scale_row(reciprocal_rms(value, x.cols, eps), value, x.cols);
      round_row(x.dtype, value, x.cols);
      multiply_row(scale.data, value, x.cols);
      store_row(value, y, row, 0, x.cols);
    }
  });
}

void rms_norm_backward_on_cpu(const OpContext& context, ConstTensorView h, ConstTensorView weight, float eps,
                              ConstTensorView fused_dy, const std::optional<LoraInputGradient>& lora,
                              const std::optional<ConstTensorView>& residual, TensorView dh) {
  const WorkspaceFrame frame(*context.workspace);
  const ConstMatrix scale = widened(context, weight);
  const InputGradient dy(context, kBackward, fused_dy, h.cols, lora);
  const std::int64_t cols = h.cols, tile = InputGradient::kRows;
  const WorkerScratch scratch(context, {tile * cols, cols});
  for_each_task(ceil_div(h.rows, tile), [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t first = task * tile, count = std::min(tile, h.rows - first);
    const auto [gradient, other] = scratch.of(worker);
    dy.load(first, count, worker, gradient);
    for (std::int64_t i = 0; i < count; ++i) {
      float* g = gradient + i * cols;
      multiply_row(scale.data, g, cols);
      load_row(h, first + i, 0, cols, other);
      const float rstd = reciprocal_rms(other, cols, eps);
      const float mean = dot_rows(g, other, cols) * rstd / static_cast<float>(cols);
      norm_gradient_row(other, rstd, mean, g, cols);
      if (residual) {
        load_row(*residual, first + i, 0, cols, other);
        add_to_row(other, g, cols);
      }
      store_row(g, dh, first + i, 0, cols);
    }
  });
}

}  // namespace

void rms_norm(const OpContext& context, ConstTensorView x, std::optional<ConstTensorView> delta,
              std::optional<TensorView> h, ConstTensorView weight, float eps, TensorView y) {
  check_context(context, kForward);
  check_activation(kForward, "x", x);
  if (delta) check_matrix(kForward, "delta", *delta, x.dtype, x.rows, x.cols);
  if (h) check_matrix(kForward, "h", *h, x.dtype, x.rows, x.cols);
  check_matrix(kForward, "weight", weight, x.dtype, 1, x.cols);
  check_matrix(kForward, "y", y, x.dtype, x.rows, x.cols);
  log_work(context, {.bytes = (2 + (delta ? 1 : 0) + (h ? 1 : 0)) * bytes_of(x)});
  if (on_device(context)) {
    rms_norm_on_device(context, x, delta, h, weight, eps, y);
  } else {
    rms_norm_on_cpu(context, x, delta, h, weight, eps, y);
  }
}

void rms_norm_backward(const OpContext& context, ConstTensorView h, ConstTensorView weight, float eps,
                       ConstTensorView fused_dy, std::optional<LoraInputGradient> lora,
                       std::optional<ConstTensorView> residual_gradient, TensorView dh) {
  check_context(context, kBackward);
  check_activation(kBackward, "h", h);
  check_matrix(kBackward, "weight", weight, h.dtype, 1, h.cols);
  check_matrix(kBackward, "dh", dh, h.dtype, h.rows, h.cols);
  if (residual_gradient) check_matrix(kBackward, "residual_gradient", *residual_gradient, h.dtype, h.rows, h.cols);
  SHORI_CHECK(fused_dy.rows == h.rows && fused_dy.dtype == h.dtype, "rms_norm_backward: dy does not fit h");
  log_work(context, {.bytes = (residual_gradient ? 4 : 3) * bytes_of(h)});
  if (on_device(context)) {
    rms_norm_backward_on_device(context, h, weight, eps, fused_dy, lora, residual_gradient, dh);
  } else {
    rms_norm_backward_on_cpu(context, h, weight, eps, fused_dy, lora, residual_gradient, dh);
  }
}

}  // namespace shori
