// Products of one row with packed inputs by each instruction set, in the order of sums of row_product.h.
//
// Each file has readers, which give the elements of one step in the order of the packed input. One loop goes over the steps of
// any reader (row_loops.h for both sets of vectors). Element i of a step is added to lane i % 32.
#pragma once

#include <cstdint>

#include "kernels/cpu/nf4_block.h"
#include "kernels/cpu/simd.h"
#include "shori/ops/cpu_isa.h"
#include "shori/util/bf16.h"

namespace shori {

inline constexpr std::int64_t kRowStep = 32;  // elements of a dense row that are read at once

// Packed input i < count is at packed + i * stride.
struct RowInputs {
  const float* packed;
  std::int64_t stride, count;
};

// Steps of kRowStep elements from `row` on: sums[i] of input i.
template <typename T>
using DenseDot = void (*)(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums);
// Quantization blocks first .. first + blocks - 1 of a weight.
using Nf4Dot = void (*)(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first, std::int64_t blocks,
                        const RowInputs& inputs, float* sums);

// Weights of the rows of a matrix for several sums: sum i < count is at sums + i * cols, its weight of row r at
// weights + i * stride + r.
struct RowWeights {
  const float* weights;
  std::int64_t stride, count;
};
// sums[i][col] = fma(weight, value[row][col], sums[i][col]) for the rows in their order.
template <typename T>
using DenseAdd = void (*)(const T* rows, std::int64_t cols, std::int64_t count, const RowWeights& weights, float* sums);

SHORI_INLINE float as_float(float value) { return value; }
SHORI_INLINE float as_float(Bf16 value) { return to_float(value); }

struct RowDot {
  Nf4Dot nf4;
  DenseDot<Bf16> bf16;
  DenseDot<float> f32;
  DenseAdd<Bf16> add_bf16;
  DenseAdd<float> add_f32;
};
extern const RowDot kPlainRowDot;
#ifdef __x86_64__
extern const RowDot kAvx2RowDot, kAvx512RowDot;
#endif

// Those of `isa`, or of the best set of this machine where that is less.
const RowDot& row_dot(CpuIsa isa);

// Both halves of the 32 lanes of a sum are added, then the 16 lanes by the tree of sum_of_lanes().
inline float half_sum(const float* lanes) {
  float part[16];
  for (int l = 0; l < 16; ++l) part[l] = lanes[l] + lanes[16 + l];
  for (int half = 8; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) part[l] = part[l] + part[l + half];
  }
  return part[0];
}

}  // namespace shori
