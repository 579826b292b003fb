// Launchers of ops/rms_norm.h. All pointers are 16-byte aligned, columns and strides multiples of 8.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/input_gradient_launch.h"
#include "shori/ops/device_limits.h"

namespace shori {

struct RmsNormLaunch {
  const Bf16* x;       // [rows, cols]
  const Bf16* delta;   // [rows, cols]; null: h = x
  Bf16* h;             // [rows, cols]; null: h is not stored
  const Bf16* weight;  // [cols]
  Bf16* y;             // [rows, cols]
  std::int64_t x_stride, delta_stride, h_stride, y_stride;
  std::int64_t rows, cols;
  float eps;
};
SHORI_LAUNCHER void launch_rms_norm(const RmsNormLaunch& arguments, cudaStream_t stream);

// `gradient` is the gradient of y; its rows and cols are those of h, at most kMaxNormColumns columns.
struct RmsNormBackwardLaunch {
  const Bf16* h;         // [rows, cols]
  const Bf16* weight;    // [cols]
  const Bf16* residual;  // [rows, cols], may be dh; null: none is added
  Bf16* dh;              // [rows, cols]
  std::int64_t h_stride, residual_stride, dh_stride;
  float eps;
};
SHORI_LAUNCHER void launch_rms_norm_backward(const InputGradientLaunch& gradient,
                                             const RmsNormBackwardLaunch& arguments, cudaStream_t stream);

}  // namespace shori
