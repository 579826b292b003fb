// The memory of one tensor: on the heap, or in an arena of a device. The model allocates nowhere else.
#pragma once

#include <cstdint>
#include <memory>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/device_arena.h"

namespace shori {

// A dense matrix [rows, cols], not initialized (make()) or all zero bytes (zeros()). Without an arena it owns host
// memory, 64-byte aligned. In an arena it only points to memory, which the arena owns.
class OwnedTensor {
 public:
  OwnedTensor() = default;
  static OwnedTensor make(DType dtype, std::int64_t rows, std::int64_t cols, DeviceArena* arena = nullptr);
  // On a device the zeros are queued on the default stream.
  static OwnedTensor zeros(DType dtype, std::int64_t rows, std::int64_t cols, DeviceArena* arena = nullptr);

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
    bool of_arena;  // then the arena frees it
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  DType dtype_ = DType::kF32;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
};

// A tensor of a device with a copy in page-locked host memory, `host()`. On the CPU both are the same memory and
// nothing is copied.
class MirroredTensor : public OwnedTensor {
 public:
  MirroredTensor() = default;
  static MirroredTensor zeros(DType dtype, std::int64_t rows, std::int64_t cols, DeviceMemory* memory);

  // Host copy. Holds the result of the last download(), or what the host wrote since.
  const OwnedTensor& host() const { return mirror_ ? mirror_ : *this; }
  void download(const OpContext& context) const;  // queued on the context's stream
  void upload(const OpContext& context) const;

 private:
  OwnedTensor mirror_;
};

// Copies one matrix to another of the same shape, on the context's device. Memory traffic: read and written once.
void copy_matrix(const OpContext& context, ConstTensorView from, TensorView to);
// Waits until everything queued on the context's stream is done. Does nothing on the CPU.
void wait_for_device(const OpContext& context);

}  // namespace shori
