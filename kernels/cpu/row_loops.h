// The loops of row_dot_avx2.cpp and row_dot_avx512.cpp, for vectors of either instruction set. Before a file includes this, it
// defines SHORI_ROW_TARGET as the target of its functions: a function cannot call those of a target that it does not have
// itself. Therefore each file has its own instances, in an unnamed namespace.
//
// V is the instruction set: V::Float holds V::kWidth values; load() of fp32 or bf16, store(), broadcast(), multiply_add(a, b, c)
// = a * b + c with one rounding, and half_sum() of the 32 lanes of a sum.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cpu/row_dot.h"
#include "kernels/cpu/row_product.h"

namespace shori {

namespace {

// The elements of a step are decoded once for all inputs, whose sums are in memory.
template <typename V, typename Reader>
SHORI_ROW_TARGET SHORI_INLINE void dot_all_inputs(Reader reader, std::int64_t steps, const RowInputs& inputs,
                                                  float* sums) {
  constexpr int kSums = kRowStep / V::kWidth;
  const float* x = inputs.packed;
  typename V::Float vectors[Reader::kVectors];
  typename V::Float lanes[kMaxRowInputs][kSums] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += V::kWidth * Reader::kVectors) {
    reader.next(vectors);
    for (std::int64_t input = 0; input < inputs.count; ++input) {
      typename V::Float sum[kSums];
      for (int v = 0; v < kSums; ++v) sum[v] = lanes[input][v];
      const float* from = x + input * inputs.stride;
      for (int v = 0; v < Reader::kVectors; ++v) {
        sum[v % kSums] = V::multiply_add(vectors[v], V::load(from + V::kWidth * v), sum[v % kSums]);
      }
      for (int v = 0; v < kSums; ++v) lanes[input][v] = sum[v];
    }
  }
  for (std::int64_t input = 0; input < inputs.count; ++input) sums[input] = V::half_sum(lanes[input]);
}

// kSums sums of kVectors vectors of columns stay in registers over all rows.
template <typename V, int kSums, int kVectors, typename T>
SHORI_ROW_TARGET SHORI_INLINE void add_columns(const T* rows, std::int64_t cols, std::int64_t count,
                                               const float* weights, std::int64_t stride, float* sums) {
  typename V::Float sum[kSums][kVectors];
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) sum[i][v] = V::load(sums + i * cols + v * V::kWidth);
  }
  for (std::int64_t row = 0; row < count; ++row, rows += cols) {
    typename V::Float value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = V::load(rows + v * V::kWidth);
    for (int i = 0; i < kSums; ++i) {
      const typename V::Float weight = V::broadcast(weights[i * stride + row]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = V::multiply_add(weight, value[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) V::store(sum[i][v], sums + i * cols + v * V::kWidth);
  }
}
template <typename V, int kSums, typename T>
SHORI_ROW_TARGET SHORI_INLINE void add_rows(const T* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                            std::int64_t stride, float* sums) {
  constexpr int kVectors = 8 / kSums;
  std::int64_t col = 0;
  for (; col + kVectors * V::kWidth <= cols; col += kVectors * V::kWidth) {
    add_columns<V, kSums, kVectors>(rows + col, cols, count, weights, stride, sums + col);
  }
  for (; col + V::kWidth <= cols; col += V::kWidth) {
    add_columns<V, kSums, 1>(rows + col, cols, count, weights, stride, sums + col);
  }
  for (; col < cols; ++col) {
    for (int i = 0; i < kSums; ++i) {
      float& sum = sums[i * cols + col];
      for (std::int64_t row = 0; row < count; ++row) {
        sum = std::fma(weights[i * stride + row], as_float(rows[row * cols + col]), sum);
      }
    }
  }
}
template <typename V, typename T>
SHORI_ROW_TARGET void add_all_rows(const T* rows, std::int64_t cols, std::int64_t count, const RowWeights& weights,
                                   float* sums) {
  std::int64_t i = 0;
  const auto* from = weights.weights;
  for (; i + 4 <= weights.count; i += 4)
    add_rows<V, 4>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  for (; i + 2 <= weights.count; i += 2)
    add_rows<V, 2>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  if (i < weights.count) add_rows<V, 1>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
}

}  // namespace

}  // namespace shori
