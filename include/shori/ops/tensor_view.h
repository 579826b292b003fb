// Operands of ops: views of memory that the caller owns. Ops never allocate and never return tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shori/util/bf16.h"
#include "shori/util/device.h"

namespace shori {

enum class DType : std::uint8_t { kF32, kBf16, kU8, kI32 };

constexpr std::size_t size_of(DType dtype) { return dtype == DType::kU8 ? 1 : dtype == DType::kBf16 ? 2 : 4; }

// A row-major matrix of `rows` x `cols` elements, `stride` elements from row to row (stride >= cols). A vector has one
// row.
struct ConstTensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  template <typename T>
  const T* row(std::int64_t index) const {
    return static_cast<const T*>(data) + index * stride;
  }
  ConstTensorView slice_rows(std::int64_t first, std::int64_t count) const {
    const auto* bytes = static_cast<const std::byte*>(data) + static_cast<std::size_t>(first * stride) * size_of(dtype);
    return {bytes, dtype, count, cols, stride};
  }
  ConstTensorView slice_cols(std::int64_t first, std::int64_t count) const {
    const auto* bytes = static_cast<const std::byte*>(data) + static_cast<std::size_t>(first) * size_of(dtype);
    return {bytes, dtype, rows, count, stride};
  }
};

struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  operator ConstTensorView() const { return {data, dtype, rows, cols, stride}; }
  template <typename T>
  T* row(std::int64_t index) const {
    return static_cast<T*>(data) + index * stride;
  }
  TensorView slice_rows(std::int64_t first, std::int64_t count) const {
    auto* bytes = static_cast<std::byte*>(data) + static_cast<std::size_t>(first * stride) * size_of(dtype);
    return {bytes, dtype, count, cols, stride};
  }
  TensorView slice_cols(std::int64_t first, std::int64_t count) const {
    auto* bytes = static_cast<std::byte*>(data) + static_cast<std::size_t>(first) * size_of(dtype);
    return {bytes, dtype, rows, count, stride};
  }
};

// An array of integers that the host reads for checks and plans, and that kernels read by element: the host's copy and,
// for ops on a device, a copy there.
struct Int32Array {
  std::span<const std::int32_t> host;
  const std::int32_t* device = nullptr;

  Int32Array() = default;
  Int32Array(std::span<const std::int32_t> host_copy, const std::int32_t* device_copy = nullptr)
      : host(host_copy), device(device_copy) {}
  Int32Array(const std::vector<std::int32_t>& host_copy) : host(host_copy) {}
  std::size_t size() const { return host.size(); }
};

}  // namespace shori
