// SwiGLU: each thread computes 8 columns, a few blocks a row.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/swiglu_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads, 1) swiglu_kernel(SwigluLaunch a, unsigned blocks_of_row) {
  const std::int64_t row = blockIdx.x / blocks_of_row;
  const std::int64_t column = (blockIdx.x % blocks_of_row * kThreads + threadIdx.x) * std::int64_t{kVector};
  if (column >= a.cols) return;
  const Bf16* gate_address = a.gate_up + row * a.gate_up_stride + column;
  float gate[kVector], up[kVector];
  load_vector(gate_address, gate);
  load_vector(gate_address + a.cols, up);
  for (int i = 0; i < kVector; ++i) {
    const float silu = gate[i] * (1.0f / (1.0f + expf(-gate[i])));
    up[i] *= round_to_bf16(silu);
  }
  store_vector(up, a.p + row * a.p_stride + column);
}

}  // namespace

void launch_swiglu(const SwigluLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const unsigned blocks_of_row = block_count(arguments.cols, kThreads * kVector);
  launch(SHORI_KERNEL(swiglu_kernel), static_cast<unsigned>(arguments.rows) * blocks_of_row, kThreads, 0, stream,
         arguments, blocks_of_row);
}

}  // namespace shori
