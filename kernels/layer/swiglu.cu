// SwiGLU: 8 columns a thread, a few blocks a row.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/swiglu_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;  // values of one 16-byte access

__global__ void __launch_bounds__(kThreads, 1) swiglu_kernel(SwigluLaunch a, unsigned blocks_of_row) {
  const std::int64_t row = blockIdx.x / blocks_of_row;
  const std::int64_t column = (blockIdx.x % blocks_of_row * kThreads + threadIdx.x) * std::int64_t{kPiece};
  if (column >= a.cols) return;
  const Bf16* gate_address = a.gate_up + row * a.gate_up_stride + column;
  float gate[kPiece], up[kPiece];
  unpack_bf16(*reinterpret_cast<const uint4*>(gate_address), gate);
  unpack_bf16(*reinterpret_cast<const uint4*>(gate_address + a.cols), up);
  for (int i = 0; i < kPiece; ++i) {
    const float silu = gate[i] * (1.0f / (1.0f + expf(-gate[i])));
    up[i] *= round_to_bf16(silu);
  }
  *reinterpret_cast<uint4*>(a.p + row * a.p_stride + column) = pack_bf16_vector(up);
}

}  // namespace

void launch_swiglu(const SwigluLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const auto blocks_of_row = block_count(arguments.cols, kThreads * kPiece);
  launch(swiglu_kernel, static_cast<unsigned>(arguments.rows) * blocks_of_row, kThreads, 0, stream, arguments,
         blocks_of_row);
}

}  // namespace shori
