// An array that ends where a page without access begins: reading or writing past its end stops the program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <span>

#include "shori/util/math.h"

namespace shori {

template <typename T>
class Guarded {
 public:
  explicit Guarded(std::size_t count) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    bytes_ = round_up(count * sizeof(T), page) + page;
    memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    std::byte* guard = static_cast<std::byte*>(memory_) + (bytes_ - page);
    mprotect(guard, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(guard) - count;
  }
  ~Guarded() { munmap(memory_, bytes_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::span<T> all() { return {data_, count_}; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t index) { return data_[index]; }

 private:
  std::size_t count_, bytes_ = 0;
  void* memory_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace shori
