// Memory of one tensor, with its owner. The one place where the model allocates.
#pragma once

#include <cstdint>
#include <memory>

#include "shori/ops/tensor_view.h"

namespace shori {

// A dense matrix [rows, cols], 64-byte aligned, not initialized (make() and resize()) or all zero bytes (zeros()).
class OwnedTensor {
 public:
  OwnedTensor() = default;
  static OwnedTensor make(DType dtype, std::int64_t rows, std::int64_t cols);
  static OwnedTensor zeros(DType dtype, std::int64_t rows, std::int64_t cols);

  // Views of the first `rows` rows, or of all.
  TensorView view() const { return view(rows_); }
  TensorView view(std::int64_t rows) const { return {memory_.get(), dtype_, rows, cols_, cols_}; }
  // The same memory as another shape of at most as many elements.
  TensorView view_as(std::int64_t rows, std::int64_t cols) const { return {memory_.get(), dtype_, rows, cols, cols}; }

  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(memory_.get());
  }
  DType dtype() const { return dtype_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t count() const { return rows_ * cols_; }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype_); }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  DType dtype_ = DType::kF32;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
};

}  // namespace shori
