// The LoRA part of dx, computed inside the kernels that read dx anyway, so that neither it nor a mask is ever stored.
//
// A block of kGradientThreads threads works on kRows rows, and a thread on 8 neighbouring columns of each row at a time.
// One Philox call then gives the mask of its 8 columns of a row, one 16-byte load of A serves all rows, and the dxA of
// the rows, which are the same for all threads, come from shared memory. With rank 20 and three modules that is 60 fused
// multiply-adds per element: 4.0e9 for 16,384 tokens of 4,096 columns, which the fp32 units compute in less time than
// memory needs for the rows.
#pragma once

#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

inline constexpr int kGradientThreads = 256;
inline constexpr int kMaxDxaColumns = kMaxModulesOfGroup * kMaxDeviceRank;

// Loads dxA of the rows from `first_row` on as fp32: [column of dxA][row]. All threads of the block call it; it ends with
// a barrier.
template <int kRows>
__device__ void load_dxa(const InputGradientLaunch& a, std::int64_t first_row, float (&dxa)[kMaxDxaColumns][kRows]) {
  const int count = a.modules * a.rank;
  for (int i = static_cast<int>(threadIdx.x); i < count * kRows; i += kGradientThreads) {
    const int row = i / count, column = i % count;
    const bool inside = first_row + row < a.rows;
    dxa[column][row] = inside ? to_float(a.dx[(first_row + row) * a.stride + a.cols + column]) : 0.0f;
  }
  __syncthreads();
}

// Columns `column` .. + 7 of the rows from `first_row` on: dx with its LoRA part, fp32. Rows past the end are zero.
template <int kRows>
__device__ void input_gradient(const InputGradientLaunch& a, std::int64_t first_row, int column,
                               const float (&dxa)[kMaxDxaColumns][kRows], float (&value)[kRows][kVector]) {
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    uint4 packed = make_uint4(0, 0, 0, 0);
    if (first_row + row < a.rows) {
      packed = __ldcs(reinterpret_cast<const uint4*>(a.dx + (first_row + row) * a.stride + column));
    }
    unpack_bf16(packed, value[row]);
  }
#pragma unroll 1
  for (int module = 0; module < a.modules; ++module) {
    float product[kRows][kVector] = {};
    const Bf16* factor = a.a[module] + column;
    uint4 next = __ldg(reinterpret_cast<const uint4*>(factor));
#pragma unroll 1
    for (int r = 0; r < a.rank; ++r) {
      float across[kVector];
      unpack_bf16(next, across);
      if (r + 1 < a.rank) next = __ldg(reinterpret_cast<const uint4*>(factor + (r + 1) * a.cols));
      const float (&down)[kRows] = dxa[module * a.rank + r];
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) product[row][i] = fmaf(down[row], across[i], product[row][i]);
      }
    }
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const unsigned kept = kept_columns(a.mask, a.module_index[module], static_cast<std::uint32_t>(first_row + row),
                                         static_cast<std::uint32_t>(column / kVector));
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        value[row][i] += (kept >> i & 1u) != 0 ? a.mask.scale * product[row][i] : 0.0f;
      }
    }
  }
}

}  // namespace shori
