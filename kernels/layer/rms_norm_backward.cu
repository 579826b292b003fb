// Backward of RMSNorm with the LoRA part of its output's gradient: a block keeps whole rows in registers between the
// sums and the result, so everything is read and computed once.
#include <cmath>

#include "kernels/layer/rms_norm_launch.h"
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

constexpr int kWarps = kGradientThreads / 32;

// kRows * kPieces pieces of 8 values are what a thread's registers hold.
template <int kRows, int kPieces>
__global__ void __launch_bounds__(kGradientThreads, 1)
    rms_norm_backward_kernel(const __grid_constant__ InputGradientLaunch gradient, RmsNormBackwardLaunch a) {
  SHORI_SHARED(float, dxa, [kMaxDxaColumns][kRows]);
  SHORI_SHARED(float, partial, [kWarps][kRows][2]);
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kRows;
  const auto column_of = [](int piece) {
    return (piece * kGradientThreads + static_cast<int>(threadIdx.x)) * kGradientPiece;
  };
  load_dxa<kRows>(gradient, first_row, dxa);

  // g = dy * weight; per row the sums of h * h and of g * h.
  float g[kPieces][kRows][kGradientPiece];
  float squares[kRows] = {}, products[kRows] = {};
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int column = column_of(piece);
    if (column >= gradient.cols) continue;
    input_gradient<kRows>(gradient, first_row, column, dxa, g[piece]);
    float weight[kGradientPiece];
    unpack_bf16(__ldg(reinterpret_cast<const uint4*>(a.weight + column)), weight);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if (first_row + row >= gradient.rows) continue;
      float h[kGradientPiece];
      unpack_bf16(*reinterpret_cast<const uint4*>(a.h + (first_row + row) * a.h_stride + column), h);
#pragma unroll
      for (int i = 0; i < kGradientPiece; ++i) {
        g[piece][row][i] *= weight[i];
        squares[row] = fmaf(h[i], h[i], squares[row]);
        products[row] = fmaf(g[piece][row][i], h[i], products[row]);
      }
    }
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const float square = warp_sum(squares[row]), product = warp_sum(products[row]);
    if (threadIdx.x % 32 == 0) {
      partial[threadIdx.x / 32][row][0] = square;
      partial[threadIdx.x / 32][row][1] = product;
    }
  }
  __syncthreads();

#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (first_row + row >= gradient.rows) continue;
    float square = 0, product = 0;
    for (int warp = 0; warp < kWarps; ++warp) {
      square += partial[warp][row][0];
      product += partial[warp][row][1];
    }
    const auto cols = static_cast<float>(gradient.cols);
    const float rstd = 1.0f / sqrtf(square / cols + a.eps);
    const float mean = product * rstd / cols;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const int column = column_of(piece);
      if (column >= gradient.cols) continue;
      float h[kGradientPiece], residual[kGradientPiece] = {};
      unpack_bf16(*reinterpret_cast<const uint4*>(a.h + (first_row + row) * a.h_stride + column), h);
      if (a.residual != nullptr) {
        unpack_bf16(*reinterpret_cast<const uint4*>(a.residual + (first_row + row) * a.residual_stride + column),
                    residual);
      }
#pragma unroll
      for (int i = 0; i < kGradientPiece; ++i) {
        h[i] = rstd * (g[piece][row][i] - (h[i] * rstd) * mean) + residual[i];
      }
      *reinterpret_cast<uint4*>(a.dh + (first_row + row) * a.dh_stride + column) = pack_bf16_vector(h);
    }
  }
}

template <int kRows, int kPieces>
void launch_rows(const InputGradientLaunch& gradient, const RmsNormBackwardLaunch& arguments, cudaStream_t stream) {
  launch(rms_norm_backward_kernel<kRows, kPieces>, block_count(gradient.rows, kRows), kGradientThreads, 0, stream,
         gradient, arguments);
}

}  // namespace

void launch_rms_norm_backward(const InputGradientLaunch& gradient, const RmsNormBackwardLaunch& arguments,
                              cudaStream_t stream) {
  if (gradient.rows == 0) return;
  const auto pieces = ceil_div<std::int64_t>(gradient.cols, kGradientThreads * kGradientPiece);
  if (pieces <= 1) return launch_rows<8, 1>(gradient, arguments, stream);
  if (pieces <= 2) return launch_rows<8, 2>(gradient, arguments, stream);
  if (pieces <= 4) return launch_rows<4, 4>(gradient, arguments, stream);
  launch_rows<2, 8>(gradient, arguments, stream);
}

}  // namespace shori
