// Backward of RMSNorm with the LoRA part of its output's gradient. A block keeps whole rows of that gradient in registers
// between the sums over a row and the result, so the gradient is completed once.
//
// With g = dy * weight and n columns:  dh = rstd * (g - h * rstd * mean) + residual,  rstd = 1 / sqrt(sum(h^2) / n + eps),
// mean = sum(g * h) * rstd / n.
#include <cmath>

#include "kernels/layer/rms_norm_launch.h"
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

constexpr int kWarps = kGradientThreads / 32;

// The sums that each row needs: over one thread's columns, or over one warp's.
template <int kRows>
struct RowSums {
  float squares[kRows];   // h * h
  float products[kRows];  // g * h
};

__device__ int column_of(int vector) { return (vector * kGradientThreads + static_cast<int>(threadIdx.x)) * kVector; }

// Turns dy, 8 columns of kRows rows from `column` on, into g, and adds these columns to the sums of the rows.
template <int kRows>
__device__ __forceinline__ void multiply_and_sum(const RmsNormBackwardLaunch& a, std::int64_t first_row,
                                                 std::int64_t rows, int column, float (&g)[kRows][kVector],
                                                 RowSums<kRows>& sums) {
  float weight[kVector];
  load_constant_vector(a.weight + column, weight);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (first_row + row >= rows) continue;
    float h[kVector];
    load_vector(a.h + (first_row + row) * a.h_stride + column, h);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      g[row][i] *= weight[i];
      sums.squares[row] = fmaf(h[i], h[i], sums.squares[row]);
      sums.products[row] = fmaf(g[row][i], h[i], sums.products[row]);
    }
  }
}

// Leaves the sums of each warp in shared memory: [warp][row][squares, products]. It ends with a barrier.
template <int kRows>
__device__ __forceinline__ void share_sums(const RowSums<kRows>& sums, float (&partial)[kWarps][kRows][2]) {
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const float square = warp_sum(sums.squares[row]), product = warp_sum(sums.products[row]);
    if (threadIdx.x % 32 == 0) {
      partial[threadIdx.x / 32][row][0] = square;
      partial[threadIdx.x / 32][row][1] = product;
    }
  }
  __syncthreads();
}

struct RowFactors {
  float rstd, mean;
};
template <int kRows>
__device__ __forceinline__ RowFactors row_factors(const float (&partial)[kWarps][kRows][2], int row, float cols,
                                                  float eps) {
  float square = 0, product = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    square += partial[warp][row][0];
    product += partial[warp][row][1];
  }
  const float rstd = 1.0f / sqrtf(square / cols + eps);
  return {rstd, product * rstd / cols};
}

// Writes 8 columns of dh of one row.
__device__ __forceinline__ void store_gradient(const RmsNormBackwardLaunch& a, std::int64_t row, int column,
                                               const RowFactors& factors, const float (&g)[kVector]) {
  float h[kVector], residual[kVector] = {};
  load_vector(a.h + row * a.h_stride + column, h);
  if (a.residual != nullptr) load_vector(a.residual + row * a.residual_stride + column, residual);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    h[i] = factors.rstd * (g[i] - (h[i] * factors.rstd) * factors.mean) + residual[i];
  }
  store_vector(h, a.dh + row * a.dh_stride + column);
}

// A thread holds kVectors vectors of kRows rows in registers.
template <int kRows, int kVectors>
__global__ void __launch_bounds__(kGradientThreads, 1)
    rms_norm_backward_kernel(const __grid_constant__ InputGradientLaunch gradient, RmsNormBackwardLaunch a) {
  SHORI_SHARED(float, dxa, [kMaxDxaColumns][kRows]);
  SHORI_SHARED(float, partial, [kWarps][kRows][2]);
  const std::int64_t first_row = std::int64_t{blockIdx.x} * kRows;
  load_dxa<kRows>(gradient, first_row, dxa);

  float g[kVectors][kRows][kVector];
  RowSums<kRows> sums = {};
#pragma unroll
  for (int vector = 0; vector < kVectors; ++vector) {
    const int column = column_of(vector);
    if (column >= gradient.cols) continue;
    input_gradient<kRows>(gradient, first_row, column, dxa, g[vector]);
    multiply_and_sum<kRows>(a, first_row, gradient.rows, column, g[vector], sums);
  }
  share_sums<kRows>(sums, partial);

#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (first_row + row >= gradient.rows) continue;
    const RowFactors factors = row_factors<kRows>(partial, row, static_cast<float>(gradient.cols), a.eps);
#pragma unroll
    for (int vector = 0; vector < kVectors; ++vector) {
      const int column = column_of(vector);
      if (column < gradient.cols) store_gradient(a, first_row + row, column, factors, g[vector][row]);
    }
  }
}

template <int kRows, int kVectors>
void launch_rows(const InputGradientLaunch& gradient, const RmsNormBackwardLaunch& arguments, cudaStream_t stream) {
  launch(SHORI_KERNEL(rms_norm_backward_kernel<kRows, kVectors>), block_count(gradient.rows, kRows), kGradientThreads,
         0, stream, gradient, arguments);
}

}  // namespace

// Longer rows leave registers for fewer of them.
void launch_rms_norm_backward(const InputGradientLaunch& gradient, const RmsNormBackwardLaunch& arguments,
                              cudaStream_t stream) {
  if (gradient.rows == 0) return;
  const std::int64_t vectors = ceil_div<std::int64_t>(gradient.cols, kGradientThreads * kVector);
  if (vectors <= 1) return launch_rows<8, 1>(gradient, arguments, stream);
  if (vectors <= 2) return launch_rows<8, 2>(gradient, arguments, stream);
  if (vectors <= 4) return launch_rows<4, 4>(gradient, arguments, stream);
  launch_rows<2, 8>(gradient, arguments, stream);
}

}  // namespace shori
