#include "shori/model/owned_tensor.h"

#include <cstring>
#include <new>

namespace shori {

namespace {
constexpr std::align_val_t kAlignment{64};
}

void OwnedTensor::Free::operator()(std::byte* memory) const { ::operator delete[](memory, kAlignment); }

OwnedTensor OwnedTensor::make(DType dtype, std::int64_t rows, std::int64_t cols) {
  OwnedTensor tensor;
  tensor.dtype_ = dtype;
  tensor.rows_ = rows;
  tensor.cols_ = cols;
  tensor.memory_.reset(static_cast<std::byte*>(::operator new[](tensor.bytes(), kAlignment)));
  return tensor;
}

OwnedTensor OwnedTensor::zeros(DType dtype, std::int64_t rows, std::int64_t cols) {
  OwnedTensor tensor = make(dtype, rows, cols);
  if (tensor.bytes() > 0) std::memset(tensor.memory_.get(), 0, tensor.bytes());
  return tensor;
}

}  // namespace shori
