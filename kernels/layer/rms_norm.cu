// RMSNorm with the residual add, one block a row. Rows stay in registers between the sum and the scaling.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/rms_norm_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;  // values of one 16-byte access

// kPieces: accesses of a thread, a template parameter so that `value` stays in registers.
template <int kPieces>
__global__ void __launch_bounds__(kThreads, 1) rms_norm_kernel(RmsNormLaunch a) {
  SHORI_SHARED(float, partial, [32]);
  const std::int64_t row = blockIdx.x;
  const auto column = [](int piece) { return (piece * kThreads + static_cast<int>(threadIdx.x)) * kPiece; };
  float value[kPieces][kPiece];
  float square_sum = 0;
  for (int piece = 0; piece < kPieces; ++piece) {
    if (column(piece) >= a.cols) continue;
    unpack_bf16(*reinterpret_cast<const uint4*>(a.x + row * a.x_stride + column(piece)), value[piece]);
    if (a.delta != nullptr) {
      float added[kPiece];
      unpack_bf16(*reinterpret_cast<const uint4*>(a.delta + row * a.delta_stride + column(piece)), added);
      for (int i = 0; i < kPiece; ++i) value[piece][i] = round_to_bf16(value[piece][i] + added[i]);
    }
    if (a.h != nullptr) {
      *reinterpret_cast<uint4*>(a.h + row * a.h_stride + column(piece)) = pack_bf16_vector(value[piece]);
    }
    for (int i = 0; i < kPiece; ++i) square_sum += value[piece][i] * value[piece][i];
  }
  const float mean = block_sum(square_sum, partial) / static_cast<float>(a.cols);
  const float rstd = 1.0f / sqrtf(mean + a.eps);
  for (int piece = 0; piece < kPieces; ++piece) {
    if (column(piece) >= a.cols) continue;
    float weight[kPiece];
    unpack_bf16(__ldg(reinterpret_cast<const uint4*>(a.weight + column(piece))), weight);
    for (int i = 0; i < kPiece; ++i) weight[i] *= round_to_bf16(value[piece][i] * rstd);
    *reinterpret_cast<uint4*>(a.y + row * a.y_stride + column(piece)) = pack_bf16_vector(weight);
  }
}

}  // namespace

void launch_rms_norm(const RmsNormLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const int pieces = static_cast<int>(ceil_div<std::int64_t>(arguments.cols, kThreads * kPiece));
  const auto kernel = pieces <= 1   ? rms_norm_kernel<1>
                      : pieces <= 2 ? rms_norm_kernel<2>
                      : pieces <= 4 ? rms_norm_kernel<4>
                                    : rms_norm_kernel<8>;
  launch(kernel, static_cast<unsigned>(arguments.rows), kThreads, 0, stream, arguments);
}

}  // namespace shori
