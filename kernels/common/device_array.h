// An array in device memory that the host fills and reads back: for checks at the start of a run, and for tests.
#pragma once

#include <cstddef>
#include <vector>

#include "shori/util/device.h"

namespace shori {

// Each array is an allocation of its own, so a test on the emulator notices a write past its end.
template <class T>
class DeviceArray {
 public:
  // The contents are undefined (NaN in the emulator).
  explicit DeviceArray(std::size_t count) : count_(count), data_(static_cast<T*>(device_allocate(count * sizeof(T)))) {}
  // A copy of host values; complete when the constructor returns.
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    copy_to_device(data_, host.data(), count_ * sizeof(T), nullptr);
    synchronize_stream(nullptr);
  }
  ~DeviceArray() { device_free(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  std::size_t size() const { return count_; }
  // The values after all work queued on `stream` so far.
  std::vector<T> to_host(void* stream = nullptr) const {
    std::vector<T> host(count_);
    copy_to_host(host.data(), data_, count_ * sizeof(T), stream);
    synchronize_stream(stream);
    return host;
  }

 private:
  std::size_t count_;
  T* data_;
};

}  // namespace shori
