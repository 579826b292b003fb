// fp32 matrix products of the CPU versions: libtorch's BLAS on one thread. With SHORI_OPS=reference in the environment, and
// in builds without libtorch, they are plain loops.
#pragma once

#include <cstdint>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// An fp32 operand. Strides are in elements.
struct ConstMatrix {
  const float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;

  ConstMatrix transposed() const { return {data, cols, rows, col_stride, row_stride}; }
  ConstMatrix slice(std::int64_t row, std::int64_t count, std::int64_t col, std::int64_t width) const {
    return {data + row * row_stride + col * col_stride, count, width, row_stride, col_stride};
  }
  ConstMatrix slice_rows(std::int64_t row, std::int64_t count) const { return slice(row, count, 0, cols); }
  ConstMatrix slice_cols(std::int64_t col, std::int64_t width) const { return slice(0, rows, col, width); }
};

enum class Sum { kReplace, kAdd };

// out [a.rows, b.cols] = a b, or += a b. It is called inside for_each_task, where the product runs on one thread.
void matmul(const ConstMatrix& a, const ConstMatrix& b, float* out, std::int64_t out_stride, Sum sum = Sum::kReplace);

// The view as fp32: the view itself if it is fp32, else a copy in the workspace.
ConstMatrix widened(const OpContext& context, ConstTensorView view);
inline ConstMatrix dense(const float* data, std::int64_t rows, std::int64_t cols) {
  return {data, rows, cols, cols, 1};
}

}  // namespace shori
