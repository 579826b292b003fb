// Buffers of the emulator's own tests: heap blocks of exact size that the memory checker watches.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "tests/cuda_emulator/cuda_emulator.h"

namespace shori::testing {

template <class T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t count) : count_(count) { allocate(false); }
  explicit DeviceBuffer(const std::vector<T>& host) : count_(host.size()) {
    allocate(true);
    std::memcpy(data_, host.data(), bytes());
  }
  ~DeviceBuffer() {
    emulator::forget_buffer(data_);
    std::free(data_);
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* get() { return data_; }
  std::vector<T> to_host() const { return std::vector<T>(data_, data_ + count_); }

 private:
  std::size_t bytes() const { return count_ * sizeof(T); }
  void allocate(bool initialised) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes()) != 0) throw std::bad_alloc();  // 256: the alignment of cudaMalloc
    std::memset(memory, 0xff, bytes());
    data_ = static_cast<T*>(memory);
    emulator::watch_buffer(data_, bytes(), initialised);
  }

  std::size_t count_;
  T* data_ = nullptr;
};

}  // namespace shori::testing
