// Base of tests that compare an op on the device (a GPU, or the emulator) with the CPU version. Skipped, with the
// reason, where the program's device cannot be opened.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "tests/support/device_schedules.h"

namespace shori::testing {

// Elements in device memory of their own, so that each byte past the end is noticed. Contents undefined (NaN in the
// emulator), or a copy of host values.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count), data_(static_cast<T*>(device_allocate(count * sizeof(T)))) {}
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    copy_to_device(data_, host.data(), count_ * sizeof(T), nullptr);
    synchronize_stream(nullptr);
  }
  ~DeviceArray() { device_free(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  std::size_t size() const { return count_; }
  std::vector<T> to_host() const {
    std::vector<T> host(count_);
    copy_to_host(host.data(), data_, count_ * sizeof(T), nullptr);
    synchronize_stream(nullptr);
    return host;
  }

 private:
  std::size_t count_;
  T* data_;
};

// A matrix with the same values on the host and on the device; rows may be longer than `cols`.
template <class T>
class TwinMatrix {
 public:
  TwinMatrix(std::int64_t rows, std::int64_t cols, std::vector<T> values, std::int64_t stride = 0)
      : rows_(rows), cols_(cols), stride_(stride == 0 ? cols : stride), host_(std::move(values)), device_(host_) {
    SHORI_CHECK(static_cast<std::int64_t>(host_.size()) == rows * stride_, "TwinMatrix: values do not fill the rows");
  }
  TensorView host() { return {host_.data(), dtype(), rows_, cols_, stride_}; }
  TensorView device() { return {device_.get(), dtype(), rows_, cols_, stride_}; }
  const std::vector<T>& host_values() const { return host_; }
  std::vector<T> device_values() const { return device_.to_host(); }

 private:
  static constexpr DType dtype() {
    return sizeof(T) == 1             ? DType::kU8
           : sizeof(T) == 2           ? DType::kBf16
           : std::is_same_v<T, float> ? DType::kF32
                                      : DType::kI32;
  }
  std::int64_t rows_, cols_, stride_;
  std::vector<T> host_;
  DeviceArray<T> device_;
};

inline std::vector<float> normal_values(std::size_t count, std::uint32_t seed, float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(generator);
  return values;
}
inline std::vector<Bf16> normal_bf16(std::size_t count, std::uint32_t seed, float deviation = 1.0f) {
  std::vector<Bf16> rounded(count);
  const std::vector<float> values = normal_values(count, seed, deviation);
  for (std::size_t i = 0; i < count; ++i) rounded[i] = to_bf16(values[i]);
  return rounded;
}

// Distance in units of the last place of bf16 around `wanted`; infinite if exactly one is NaN.
inline float bf16_ulps(Bf16 got, Bf16 wanted) {
  const float a = to_float(got), b = to_float(wanted);
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b) ? 0.0f : INFINITY;
  if (a == b) return 0.0f;
  int exponent = 0;
  std::frexp(b, &exponent);
  return std::fabs(a - b) / std::ldexp(1.0f, std::max(exponent, -125) - 8);
}

// L2 norm of the difference over that of `wanted`.
inline double relative_error(const std::vector<float>& got, const std::vector<float>& wanted) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    difference += (double{got[i]} - wanted[i]) * (double{got[i]} - wanted[i]);
    norm += double{wanted[i]} * wanted[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}
inline std::vector<float> floats(const std::vector<Bf16>& values) {
  std::vector<float> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = to_float(values[i]);
  return result;
}

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      open_device();
    } catch (const Error& error) {
      GTEST_SKIP() << "no device: " << error.diagnostics().front().message;
    }
  }

  // Runs `check` under every schedule of the device.
  template <class Check>
  void for_each_schedule(const Check& check) {
    for (int i = 0; i < device_schedule_count() && !HasFatalFailure(); ++i) {
      SCOPED_TRACE("schedule " + std::to_string(i));
      set_device_schedule(i);
      check();
    }
    set_device_schedule(0);
  }

  // Contexts for the CPU version and for the device's.
  OpContext cpu() { return {.device = Device::kCpu, .workspace = &host_workspace_}; }
  OpContext device(std::size_t workspace_bytes = std::size_t{8} << 20) {
    region_ = std::make_unique<DeviceArray<std::byte>>(workspace_bytes);
    device_workspace_ = Workspace(region_->get(), workspace_bytes);
    return {.device = Device::kCuda, .workspace = &device_workspace_};
  }
  Workspace& device_workspace() { return device_workspace_; }

 private:
  Workspace host_workspace_, device_workspace_;
  std::unique_ptr<DeviceArray<std::byte>> region_;
};

}  // namespace shori::testing
