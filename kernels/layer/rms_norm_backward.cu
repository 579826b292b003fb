// Backward of RMSNorm with the LoRA part of its output's gradient. A block completes that gradient for 8 whole rows
// (kernels/lora/input_gradient.cuh) and keeps it in registers between the sums over a row and the result.
//
// With g = dy * weight and n columns:  dh = rstd * (g - h * rstd * mean) + residual,  rstd = 1 / sqrt(sum(h^2) / n + eps),
// mean = sum(g * h) * rstd / n.
//
// A block has 16 warps, as two of 8 warps would have: 8 rows of g take half of a multiprocessor's registers, and fewer rows
// would read A more often, which is as many bytes as the rows themselves already.
#include <cmath>

#include "kernels/layer/rms_norm_launch.h"
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kRows = kTileTokens;
constexpr int kPassColumns = kWarps * kWarpColumns;
constexpr int kRegisterPasses = 4;  // rows of up to 4,096 columns; g of longer ones is computed twice

// The sums that a row needs, over the columns of a lane: those of row 2t, then those of row 2t + 1.
struct RowSums {
  float squares[kLaneTokens];   // h * h
  float products[kLaneTokens];  // g * h
};

// First row of the lane, and first column of the warp in the first pass.
__device__ __forceinline__ int lane_row() {
  return static_cast<int>(blockIdx.x) * kRows + kLaneTokens * fragment_lane().t;
}
__device__ __forceinline__ int warp_column() { return static_cast<int>(threadIdx.x) / 32 * kWarpColumns; }

__device__ __forceinline__ void load_gradient(const InputGradientLaunch& a, const LaneRows& rows, int column,
                                              LaneValues& dy) {
#pragma unroll
  for (int i = 0; i < kLaneTokens; ++i) load_constant_vector(element(a.dx, a.stride, rows.row[i], column), dy[i]);
}

// Turns dy into g and adds its columns to the sums.
__device__ __forceinline__ void multiply_and_sum(const RmsNormBackwardLaunch& a, const LaneRows& rows, int column,
                                                 LaneValues& g, RowSums& sums) {
  float weight[kVector];
  load_constant_vector(a.weight + column, weight);
#pragma unroll
  for (int i = 0; i < kLaneTokens; ++i) {
    float h[kVector];
    load_constant_vector(element(a.h, a.h_stride, rows.row[i], column), h);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      g[i][k] *= weight[k];
      sums.squares[i] = fmaf(h[k], h[k], sums.squares[i]);
      sums.products[i] = fmaf(g[i][k], h[k], sums.products[i]);
    }
  }
}

// Over the lanes that share the rows of this one.
__device__ __forceinline__ float sum_of_columns(float value) {
  for (int bits = 4; bits < 32; bits *= 2) value += __shfl_xor_sync(kFullWarp, value, bits);
  return value;
}

struct RowFactors {
  float rstd, mean;
};

// Adds the sums of all warps in order. Of the lanes that share two rows, lane g adds one sum: the squares of row g % 2, or from
// the third lane on the products, and again from the fifth. Each computes the factors of one row. All threads of the block call it.
__device__ __forceinline__ void row_factors(const RowSums& sums, float4 (&partial)[kWarps][kRows / kLaneTokens],
                                            float cols, float eps, RowFactors (&factors)[kLaneTokens]) {
  const auto [g, t] = fragment_lane();
  const float4 of_warp = make_float4(sum_of_columns(sums.squares[0]), sum_of_columns(sums.squares[1]),
                                     sum_of_columns(sums.products[0]), sum_of_columns(sums.products[1]));
  if (g == 0) partial[threadIdx.x / 32][t] = of_warp;
  __syncthreads();
  const float* of_lane = reinterpret_cast<const float*>(&partial[0][t]) + g % 4;
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) sum += of_lane[warp * (kRows / kLaneTokens) * 4];
  const bool has_products = g % 4 >= 2, is_second = g % 2 == 1;
  const float other = __shfl_xor_sync(kFullWarp, sum, 8);
  const float square = has_products ? other : sum, product = has_products ? sum : other;
  const float rstd = 1.0f / sqrtf(square / cols + eps), mean = product * rstd / cols;
  const RowFactors own = {rstd, mean};
  const RowFactors next = {__shfl_xor_sync(kFullWarp, rstd, 4), __shfl_xor_sync(kFullWarp, mean, 4)};
  factors[0] = is_second ? next : own;
  factors[1] = is_second ? own : next;
}

// Writes 8 columns of dh of two rows.
__device__ __forceinline__ void store_gradient(const RmsNormBackwardLaunch& a, int rows, int column,
                                               const RowFactors (&factors)[kLaneTokens], const LaneValues& g) {
#pragma unroll
  for (int i = 0; i < kLaneTokens; ++i) {
    const int row = lane_row() + i;
    if (row >= rows) continue;
    float h[kVector], residual[kVector] = {};
    load_constant_vector(element(a.h, a.h_stride, row, column), h);
    if (a.residual != nullptr) load_vector(element(a.residual, a.residual_stride, row, column), residual);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      h[k] = factors[i].rstd * (g[i][k] - (h[k] * factors[i].rstd) * factors[i].mean) + residual[k];
    }
    store_vector(h, element(a.dh, a.dh_stride, row, column));
  }
}

// g of a row is in the registers of the block. For columns that are a multiple of a warp's.
template <int kEights>
__global__ void __launch_bounds__(kThreads, 1)
    rms_norm_backward_kernel(const __grid_constant__ InputGradientLaunch gradient, RmsNormBackwardLaunch a) {
  SHORI_SHARED(float4, partial, [kWarps][kRows / kLaneTokens]);
  auto* dxa = dynamic_shared<uint2>();
  load_dxa<kEights, kRows>(gradient, std::int64_t{blockIdx.x} * kRows, dxa);
  const auto [lane_g, t] = fragment_lane();
  dxa += lane_g * dxa_stride<kEights>(gradient.modules) + t;
  const int cols = static_cast<int>(gradient.cols), column = warp_column() + lane_g * kVector;
  const LaneRows rows = lane_rows(gradient, lane_row());
  LaneValues g[kRegisterPasses];
  RowSums sums = {};
#pragma unroll
  for (int pass = 0; pass < kRegisterPasses; ++pass) {
    const int shift = pass * kPassColumns;
    if (warp_column() + shift >= cols) continue;  // the whole warp
    load_gradient(gradient, rows, column + shift, g[pass]);
    add_lora_part<kEights>(gradient, dxa, column + shift, mask_rows(gradient, rows, column + shift), g[pass]);
    multiply_and_sum(a, rows, column + shift, g[pass], sums);
  }
  RowFactors factors[kLaneTokens];
  row_factors(sums, partial, static_cast<float>(cols), a.eps, factors);
#pragma unroll
  for (int pass = 0; pass < kRegisterPasses; ++pass) {
    const int shift = pass * kPassColumns;
    if (warp_column() + shift < cols) {
      store_gradient(a, static_cast<int>(gradient.rows), column + shift, factors, g[pass]);
    }
  }
}

// g of a row is computed twice. For any columns.
__global__ void __launch_bounds__(kThreads, 1)
    rms_norm_backward_twice_kernel(const __grid_constant__ InputGradientLaunch gradient, RmsNormBackwardLaunch a) {
  SHORI_SHARED(float4, partial, [kWarps][kRows / kLaneTokens]);
  auto* dxa = dynamic_shared<uint2>();
  load_dxa<kMaxEights, kRows>(gradient, std::int64_t{blockIdx.x} * kRows, dxa);
  const auto [lane_g, t] = fragment_lane();
  dxa += lane_g * dxa_stride<kMaxEights>(gradient.modules) + t;
  const auto cols = static_cast<int>(gradient.cols);
  const LaneRows rows = lane_rows(gradient, lane_row());
  RowSums sums = {};
  RowFactors factors[kLaneTokens];
#pragma unroll 1
  for (int round = 0; round < 2; ++round) {
    if (round == 1) row_factors(sums, partial, static_cast<float>(cols), a.eps, factors);
#pragma unroll 1
    for (int first = warp_column(); first < cols; first += kPassColumns) {
      const bool has_columns = first + lane_g * kVector < cols;
      const int column = has_columns ? first + lane_g * kVector : first;
      LaneValues g;
      load_gradient(gradient, rows, column, g);
      add_lora_part<kMaxEights>(gradient, dxa, column, mask_rows(gradient, rows, column), g);
      RowSums with_columns = sums;
      multiply_and_sum(a, rows, column, g, with_columns);
      if (!has_columns) continue;
      sums = with_columns;
      if (round == 1) store_gradient(a, static_cast<int>(gradient.rows), column, factors, g);
    }
  }
}

}  // namespace

void launch_rms_norm_backward(const InputGradientLaunch& gradient, const RmsNormBackwardLaunch& arguments,
                              cudaStream_t stream) {
  if (gradient.rows == 0) return;
  const auto run = [&](const auto& kernel, auto eights) {
    launch(kernel, block_count(gradient.rows, kRows), kThreads, dxa_bytes<eights>(gradient.modules, kRows), stream,
           gradient, arguments);
  };
  const bool in_registers = gradient.cols <= kRegisterPasses * kPassColumns && gradient.cols % kWarpColumns == 0;
  if (in_registers && eights_of(gradient.rank) <= 3) {
    run(SHORI_KERNEL(rms_norm_backward_kernel<3>), std::integral_constant<int, 3>());
  } else if (in_registers) {
    run(SHORI_KERNEL(rms_norm_backward_kernel<kMaxEights>), std::integral_constant<int, kMaxEights>());
  } else {
    run(SHORI_KERNEL(rms_norm_backward_twice_kernel), std::integral_constant<int, kMaxEights>());
  }
}

}  // namespace shori
