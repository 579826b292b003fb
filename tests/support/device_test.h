// The base of tests that compare an op on the device (a GPU, or the emulator) with the CPU version. Without a GPU a test is
// skipped, with the reason. A GPU that cannot be opened is a failure.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/device_array.h"
#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "tests/support/device_schedules.h"
#include "tests/support/machine_gpu.h"

namespace shori::testing {

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

// The distance of two values in units in the last place of bf16 at `expected`; infinite if exactly one of them is NaN.
inline float bf16_ulps(Bf16 got, Bf16 expected) {
  const float a = to_float(got), b = to_float(expected);
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b) ? 0.0f : INFINITY;
  if (a == b) return 0.0f;
  int exponent = 0;
  std::frexp(b, &exponent);
  return std::fabs(a - b) / std::ldexp(1.0f, std::max(exponent, -125) - 8);
}

// Checks a result of two rounded steps, x = round(a), y = round(x * b): where a is an ulp of fp32 apart, x may round to the
// other neighbour, and up to two neighbours lie between the values of y. That is rare: a and round(a) must be a tie.
inline void expect_two_roundings(const std::vector<Bf16>& got, const std::vector<Bf16>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  std::size_t differ = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float ulps = bf16_ulps(got[i], expected[i]);
    ASSERT_LE(ulps, 2.0f) << "element " << i;
    differ += ulps > 0 ? 1 : 0;
  }
  EXPECT_LE(differ, 2 + got.size() / 5000) << "of " << got.size() << " elements";
}

// The L2 norm of the difference over that of `expected`.
template <class Expected>
double relative_error(const std::vector<float>& got, const std::vector<Expected>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (double{got[i]} - expected[i]) * (double{got[i]} - expected[i]);
    norm += double{expected[i]} * expected[i];
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
      if (machine_has_gpu()) FAIL() << "no device: " << error.diagnostics().front().message;
      GTEST_SKIP() << "no device: " << error.diagnostics().front().message;
    }
  }

  // Runs `check` under every schedule of the device (device_schedules.h).
  template <class Check>
  void for_each_schedule(const Check& check) {
    for (int i = 0; i < device_schedule_count() && !HasFatalFailure(); ++i) {
      SCOPED_TRACE(concat("schedule ", i));
      set_device_schedule(i);
      check();
    }
    set_device_schedule(0);
  }
  // Runs `check` under every way in which the device's tensor cores may round fp16 sums.
  template <class Check>
  void for_each_sum_rounding(const Check& check) {
    for (int i = 0; i < device_sum_rounding_count() && !HasFatalFailure(); ++i) {
      SCOPED_TRACE(concat("rounding ", i));
      set_device_sum_rounding(i);
      check();
    }
    set_device_sum_rounding(0);
  }

  // Contexts for the CPU version and for the device's. The memory checker of the emulator tracks every byte of the
  // workspace, so tests that need little ask for little.
  static constexpr std::size_t kSmallWorkspace = std::size_t{64} << 10;
  OpContext cpu() { return {.device = Device::kCpu, .workspace = &host_workspace_}; }
  OpContext device(std::size_t workspace_bytes = std::size_t{8} << 20) {
    const std::size_t red_zones = RedZones::room_on_device;
    region_ = std::make_unique<DeviceArray<std::byte>>(workspace_bytes + red_zones);
    device_workspace_ = Workspace(region_->get(), workspace_bytes, red_zones);
    return {.device = Device::kCuda, .workspace = &device_workspace_};
  }
  Workspace& device_workspace() { return device_workspace_; }

 private:
  Workspace host_workspace_, device_workspace_;
  std::unique_ptr<DeviceArray<std::byte>> region_;
};

}  // namespace shori::testing
