// RMSNorm with the residual add, one block per row. A row stays in registers between the sum of its squares and the
// scaling, so memory is read once.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/rms_norm_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;

// kVectors: vectors of a row per thread. It is a template parameter so that `value` stays in registers.
template <int kVectors>
__global__ void __launch_bounds__(kThreads, 1) rms_norm_kernel(RmsNormLaunch a) {
  SHORI_SHARED(float, partial, [32]);
  const std::int64_t row = blockIdx.x;
  const auto column = [](int vector) { return (vector * kThreads + static_cast<int>(threadIdx.x)) * kVector; };
  float value[kVectors][kVector];
  float square_sum = 0;
  for (int vector = 0; vector < kVectors; ++vector) {
    if (column(vector) >= a.cols) continue;
    load_vector(a.x + row * a.x_stride + column(vector), value[vector]);
    if (a.delta != nullptr) {
      float added[kVector];
      load_vector(a.delta + row * a.delta_stride + column(vector), added);
      for (int i = 0; i < kVector; ++i) value[vector][i] = round_to_bf16(value[vector][i] + added[i]);
    }
    if (a.h != nullptr) store_vector(value[vector], a.h + row * a.h_stride + column(vector));
    for (int i = 0; i < kVector; ++i) square_sum += value[vector][i] * value[vector][i];
  }
  const float mean = block_sum(square_sum, partial) / static_cast<float>(a.cols);
  const float rstd = 1.0f / sqrtf(mean + a.eps);
  for (int vector = 0; vector < kVectors; ++vector) {
    if (column(vector) >= a.cols) continue;
    float weight[kVector];
    load_constant_vector(a.weight + column(vector), weight);
    for (int i = 0; i < kVector; ++i) weight[i] *= round_to_bf16(value[vector][i] * rstd);
    store_vector(weight, a.y + row * a.y_stride + column(vector));
  }
}

}  // namespace

void launch_rms_norm(const RmsNormLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const std::int64_t vectors = ceil_div<std::int64_t>(arguments.cols, kThreads * kVector);
  const auto kernel = vectors <= 1   ? SHORI_KERNEL(rms_norm_kernel<1>)
                      : vectors <= 2 ? SHORI_KERNEL(rms_norm_kernel<2>)
                      : vectors <= 4 ? SHORI_KERNEL(rms_norm_kernel<4>)
                                     : SHORI_KERNEL(rms_norm_kernel<8>);
  launch(kernel, static_cast<unsigned>(arguments.rows), kThreads, 0, stream, arguments);
}

}  // namespace shori
