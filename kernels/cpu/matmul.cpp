#include "kernels/cpu/matmul.h"

#ifndef SHORI_WITHOUT_TORCH
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#endif

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

namespace shori {

namespace {

#ifndef SHORI_WITHOUT_TORCH
at::Tensor as_tensor(const float* data, std::int64_t rows, std::int64_t cols, std::int64_t row_stride,
                     std::int64_t col_stride) {
  return at::from_blob(const_cast<float*>(data), {rows, cols}, {row_stride, col_stride}, at::TensorOptions(at::kFloat));
}
#endif

void plain_matmul(const ConstMatrix& a, const ConstMatrix& b, float* out, std::int64_t out_stride, Sum sum) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < b.cols; ++j) {
      float total = sum == Sum::kAdd ? out[i * out_stride + j] : 0.0f;
      for (std::int64_t k = 0; k < a.cols; ++k) {
        total += a.data[i * a.row_stride + k * a.col_stride] * b.data[k * b.row_stride + j * b.col_stride];
      }
      out[i * out_stride + j] = total;
    }
  }
}

}  // namespace

void matmul(const ConstMatrix& a, const ConstMatrix& b, float* out, std::int64_t out_stride, Sum sum) {
#ifdef SHORI_WITHOUT_TORCH
  plain_matmul(a, b, out, out_stride, sum);
#else
  if (use_reference_ops()) {
    plain_matmul(a, b, out, out_stride, sum);
    return;
  }
  const c10::InferenceMode no_autograd;
  at::Tensor result = as_tensor(out, a.rows, b.cols, out_stride, 1);
  const at::Tensor left = as_tensor(a.data, a.rows, a.cols, a.row_stride, a.col_stride);
  const at::Tensor right = as_tensor(b.data, b.rows, b.cols, b.row_stride, b.col_stride);
  if (sum == Sum::kAdd) {
    at::addmm_out(result, result, left, right);
  } else {
    at::mm_out(result, left, right);
  }
#endif
}

ConstMatrix widened(const OpContext& context, ConstTensorView view) {
  if (view.dtype == DType::kF32) return {view.row<float>(0), view.rows, view.cols, view.stride, 1};
  float* copy = context.workspace->take_array<float>(static_cast<std::size_t>(view.rows * view.cols));
  for_each_row_range(view.rows, view.cols, [&](std::int64_t first, std::int64_t last, std::int64_t) {
    for (std::int64_t row = first; row < last; ++row) widen_row(view.row<Bf16>(row), copy + row * view.cols, view.cols);
  });
  return dense(copy, view.rows, view.cols);
}

}  // namespace shori
