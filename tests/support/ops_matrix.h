// What the tests of ops on the CPU share: matrices with views, conversions to libtorch, error measures, and runs under other
// settings.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

inline at::ScalarType scalar_type(DType dtype) { return dtype == DType::kBf16 ? at::kBFloat16 : at::kFloat; }
inline const char* name_of(DType dtype) { return dtype == DType::kBf16 ? "bf16" : "fp32"; }

// Matrices are aligned as the program's own tensors are.
struct alignas(64) CacheLine {
  std::byte bytes[64];
  bool operator==(const CacheLine&) const = default;
};

// A matrix that owns its memory. Rows may be longer than the columns in use; the padding holds a NaN pattern, which must
// never be read into a result.
class Matrix {
 public:
  Matrix() = default;
  Matrix(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t padding = 0)
      : dtype_(dtype), rows_(rows), cols_(cols), stride_(cols + padding) {
    lines_.resize(static_cast<std::size_t>(rows * stride_) * size_of(dtype) / 64 + 1);
    std::memset(lines_.data(), 0xff, lines_.size() * 64);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::memset(view().slice_rows(row, 1).data, 0, static_cast<std::size_t>(cols) * size_of(dtype));
    }
  }

  TensorView view() { return {lines_.data(), dtype_, rows_, cols_, stride_}; }
  ConstTensorView view() const { return {lines_.data(), dtype_, rows_, cols_, stride_}; }
  operator TensorView() { return view(); }
  operator ConstTensorView() const { return view(); }
  const std::vector<CacheLine>& bytes() const { return lines_; }
  DType dtype() const { return dtype_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }

  // A copy of the columns in use, in the matching type of libtorch.
  at::Tensor tensor() const {
    return at::from_blob(const_cast<CacheLine*>(lines_.data()), {rows_, cols_}, {stride_, 1},
                         at::TensorOptions(scalar_type(dtype_)))
        .clone();
  }
  at::Tensor doubles() const { return tensor().to(at::kDouble); }
  void set(const at::Tensor& values) {
    const at::Tensor own = values.to(scalar_type(dtype_)).contiguous();
    const std::size_t row_bytes = static_cast<std::size_t>(cols_) * size_of(dtype_);
    for (std::int64_t row = 0; row < rows_; ++row) {
      std::memcpy(view().slice_rows(row, 1).data, static_cast<const std::byte*>(own.data_ptr()) + row * row_bytes,
                  row_bytes);
    }
  }

 private:
  DType dtype_ = DType::kF32;
  std::int64_t rows_ = 0, cols_ = 0, stride_ = 0;
  std::vector<CacheLine> lines_;
};

// Gaussian values, one seed per matrix, rounded to `dtype`.
inline Matrix random_matrix(DType dtype, std::int64_t rows, std::int64_t cols, std::uint32_t seed,
                            double deviation = 1.0, std::int64_t padding = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0.0, deviation);
  at::Tensor values = at::empty({rows, cols}, at::kDouble);
  for (std::int64_t i = 0; i < rows * cols; ++i) values.data_ptr<double>()[i] = normal(generator);
  Matrix matrix(dtype, rows, cols, padding);
  matrix.set(values);
  return matrix;
}

// A context with a workspace of its own.
struct TestContext {
  Workspace workspace;
  OpContext context{Device::kCpu, nullptr, &workspace};
  operator const OpContext&() const { return context; }
};

inline double l2_error(const at::Tensor& result, const at::Tensor& exact) {
  return (result.to(at::kDouble) - exact).norm().item<double>();
}

// Our result may be at most twice as far from the exact result as the framework's own result in the same precision. `floor`
// is one rounding of the last place, for cases in which the framework happens to be exact.
inline void expect_within_twice(const at::Tensor& ours, const at::Tensor& framework, const at::Tensor& exact,
                                const char* what) {
  ASSERT_EQ(ours.sizes(), exact.sizes()) << what;
  ASSERT_TRUE(ours.isfinite().all().item<bool>()) << what;
  const double floor = 3e-8 * exact.norm().item<double>();
  EXPECT_LE(l2_error(ours, exact), 2.0 * l2_error(framework, exact) + floor) << what;
}

// Sets a variable of the environment in its scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~ScopedVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// Matrix products on the CPU run as plain loops.
struct ReferenceOps : ScopedVariable {
  ReferenceOps() : ScopedVariable("SHORI_OPS", "reference") {}
};

// Ops multiply bf16 as on a machine with AMX: by the loops of kernels/cpu/product_order.h.
struct TileOps {
  ReferenceOps reference;
  ScopedVariable tiles{"SHORI_CPU_ISA", "amx"};
};

// The bytes that `run` returns must be the same with 1, 2, 3 and 5 threads.
template <typename Run>
void expect_same_bytes_for_threads(const Run& run) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = run();
  for (const int threads : {2, 3, 5}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(run() == one) << threads << " threads";
  }
  at::set_num_threads(before);
}

}  // namespace shori
