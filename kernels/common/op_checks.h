// Argument checks that all ops share. A failed check is a bug of the caller; its text is one sentence.
#pragma once

#include <cstdint>
#include <string>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

// Every op calls this first. `op` is a string literal.
inline void check_context(const OpContext& context, const char* op) {
  SHORI_CHECK(context.workspace != nullptr, std::string(op) + " needs a workspace");
  if (context.profile != nullptr) context.profile->begin(op);
}

// Every op calls this once its operands are checked.
inline void log_work(const OpContext& context, const OpWork& work) {
  if (context.profile != nullptr) context.profile->add_work(work);
}

// FLOP of a product [m, k] x [k, n].
inline double product_flop(std::int64_t m, std::int64_t n, std::int64_t k) {
  return 2 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

inline double bytes_of(ConstTensorView view) {
  return static_cast<double>(view.rows) * static_cast<double>(view.cols) * static_cast<double>(size_of(view.dtype));
}

inline bool on_device(const OpContext& context) { return context.device == Device::kCuda; }

// Kernels compute in bf16 and access 8 neighbouring values at a time.
inline void check_device_rows(const char* op, const char* name, ConstTensorView view) {
  const auto subject = [&] { return std::string(op) + ": " + name; };
  SHORI_CHECK(view.dtype == DType::kBf16, subject() + " must be bf16 on a device");
  SHORI_CHECK(view.cols % 8 == 0 && view.stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0,
              subject() + " needs columns and strides that are multiples of 8 on a device");
}

inline void check_device_integers(const char* op, const char* name, const Int32Array& integers) {
  SHORI_CHECK(integers.device != nullptr || integers.size() == 0,
              std::string(op) + ": " + name + " must be on the device as well");
}

inline std::string shape_text(std::int64_t rows, std::int64_t cols) { return concat("[", rows, ", ", cols, "]"); }

// The view is [rows, cols] of `dtype`, and its rows do not overlap.
inline void check_matrix(const char* op, const char* name, ConstTensorView view, DType dtype, std::int64_t rows,
                         std::int64_t cols) {
  const auto subject = [&] { return std::string(op) + ": " + name; };
  SHORI_CHECK(view.rows == rows && view.cols == cols,
              concat(subject(), " is ", shape_text(view.rows, view.cols), ", must be ", shape_text(rows, cols)));
  SHORI_CHECK(view.dtype == dtype, subject() + " has the wrong dtype");
  SHORI_CHECK(view.stride >= view.cols, subject() + " has rows that overlap");
  SHORI_CHECK(view.data != nullptr || rows * cols == 0, subject() + " has no memory");
}

inline void check_activation(const char* op, const char* name, ConstTensorView view) {
  SHORI_CHECK(view.dtype == DType::kBf16 || view.dtype == DType::kF32,
              std::string(op) + ": " + name + " must be bf16 or fp32");
  check_matrix(op, name, view, view.dtype, view.rows, view.cols);
}

}  // namespace shori
