#include "shori/model/owned_tensor.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#include "shori/util/error.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr std::align_val_t kAlignment{64};

// Asks for pages of 2 MiB where the system gives them on request: a fault then brings 512 times as much, and reading the
// weights misses fewer translations. Only whole pages are asked for, so a tensor takes no more memory.
void advise_huge_pages(std::byte* memory, std::size_t bytes) {
  constexpr std::uintptr_t kPage = std::uintptr_t{1} << 21;
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first = round_up(address, kPage), last = (address + bytes) / kPage * kPage;
  if (first < last) (void)madvise(memory + (first - address), last - first, MADV_HUGEPAGE);
}

}  // namespace

void OwnedTensor::Free::operator()(std::byte* memory) const {
  if (!of_arena) ::operator delete[](memory, kAlignment);
}

OwnedTensor OwnedTensor::make(DType dtype, std::int64_t rows, std::int64_t cols, DeviceArena* arena) {
  OwnedTensor tensor;
  tensor.dtype_ = dtype;
  tensor.rows_ = rows;
  tensor.cols_ = cols;
  void* memory = arena == nullptr ? ::operator new[](tensor.bytes(), kAlignment) : arena->take(tensor.bytes());
  tensor.memory_ = {static_cast<std::byte*>(memory), Free{.of_arena = arena != nullptr}};
  if (arena == nullptr) advise_huge_pages(tensor.memory_.get(), tensor.bytes());
  return tensor;
}

OwnedTensor OwnedTensor::zeros(DType dtype, std::int64_t rows, std::int64_t cols, DeviceArena* arena) {
  OwnedTensor tensor = make(dtype, rows, cols, arena);
  if (tensor.bytes() == 0) return tensor;
  if (arena == nullptr) {
    std::memset(tensor.memory_.get(), 0, tensor.bytes());
  } else if (!arena->is_planning()) {
    fill_zero_on_device(tensor.memory_.get(), tensor.bytes(), nullptr);
  }
  return tensor;
}

MirroredTensor MirroredTensor::zeros(DType dtype, std::int64_t rows, std::int64_t cols, DeviceMemory* memory) {
  MirroredTensor tensor;
  static_cast<OwnedTensor&>(tensor) =
      OwnedTensor::zeros(dtype, rows, cols, memory == nullptr ? nullptr : &memory->device);
  if (memory == nullptr) return tensor;
  tensor.mirror_ = OwnedTensor::make(dtype, rows, cols, &memory->pinned);
  if (!memory->is_planning() && tensor.bytes() > 0) std::memset(tensor.mirror_.data<void>(), 0, tensor.bytes());
  return tensor;
}

void MirroredTensor::download(const OpContext& context) const {
  if (mirror_) copy_to_host(mirror_.data<void>(), data<void>(), bytes(), context.stream);
}

void MirroredTensor::upload(const OpContext& context) const {
  if (mirror_) copy_to_device(data<void>(), mirror_.data<void>(), bytes(), context.stream);
}

void copy_matrix(const OpContext& context, ConstTensorView from, TensorView to) {
  SHORI_CHECK(from.dtype == to.dtype && from.rows == to.rows && from.cols == to.cols,
              "copy_matrix: the matrices have different shapes");
  const std::size_t element = size_of(from.dtype), bytes = static_cast<std::size_t>(from.cols) * element;
  const auto from_pitch = static_cast<std::size_t>(from.stride) * element,
             to_pitch = static_cast<std::size_t>(to.stride) * element;
  const auto rows = static_cast<std::size_t>(from.rows);
  if (bytes == 0 || rows == 0) return;
  if (context.profile != nullptr) {
    context.profile->begin("copy_matrix");
    context.profile->add_work({.bytes = 2 * static_cast<double>(bytes * rows)});
  }
  if (context.device == Device::kCuda) {
    copy_rows_on_device(to.data, to_pitch, from.data, from_pitch, bytes, rows, context.stream);
    return;
  }
  for (std::size_t row = 0; row < rows; ++row) {
    std::memcpy(static_cast<std::byte*>(to.data) + row * to_pitch,
                static_cast<const std::byte*>(from.data) + row * from_pitch, bytes);
  }
}

void wait_for_device(const OpContext& context) {
  if (context.device == Device::kCuda) synchronize_stream(context.stream);
}

}  // namespace shori
