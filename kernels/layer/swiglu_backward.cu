// Backward of SwiGLU in place. A block completes the gradient of p for 8 rows (kernels/lora/input_gradient.cuh) and uses
// it at once.
#include <cmath>

#include "kernels/layer/swiglu_launch.h"
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

constexpr int kRows = 8;

__global__ void __launch_bounds__(kGradientThreads, 1)
    swiglu_backward_kernel(const __grid_constant__ InputGradientLaunch gradient, Bf16* gate_up, std::int64_t stride) {
  SHORI_SHARED(float, dxa, [kMaxDxaColumns][kRows]);
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  load_dxa<kRows>(gradient, first_row, dxa);
  const auto column = static_cast<int>((blockIdx.x * kGradientThreads + threadIdx.x) * kVector);
  if (column >= gradient.cols) return;
  float dp[kRows][kVector];
  input_gradient<kRows>(gradient, first_row, column, dxa, dp);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (first_row + row >= gradient.rows) continue;
    Bf16* gate_address = gate_up + (first_row + row) * stride + column;
    Bf16* up_address = gate_up + (first_row + row) * stride + gradient.cols + column;
    float gate[kVector], up[kVector];
    load_vector(gate_address, gate);
    load_vector(up_address, up);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float sigmoid = 1.0f / (1.0f + expf(-gate[i])), d = dp[row][i];
      const float dgate = d * up[i] * sigmoid * (1.0f + gate[i] * (1.0f - sigmoid));
      up[i] = d * gate[i] * sigmoid;
      gate[i] = dgate;
    }
    store_vector(gate, gate_address);
    store_vector(up, up_address);
  }
}

}  // namespace

void launch_swiglu_backward(const InputGradientLaunch& gradient, Bf16* gate_up, std::int64_t stride,
                            cudaStream_t stream) {
  if (gradient.rows == 0) return;
  const dim3 grid(block_count(gradient.cols, kGradientThreads * kVector), block_count(gradient.rows, kRows));
  launch(SHORI_KERNEL(swiglu_backward_kernel), grid, kGradientThreads, 0, stream, gradient, gate_up, stride);
}

}  // namespace shori
