// The memory of the emulated device: one wrong kernel for each way to leave an array of it. The sanitized build and the memory
// checker find the access itself; every build finds a guard or a red zone that has changed.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "kernels/common/cuda_common.cuh"
#include "shori/ops/op_context.h"
#include "shori/util/device.h"

namespace shori {
namespace {

constexpr std::size_t kFloats = 64;

class Memory {
 public:
  explicit Memory(std::size_t bytes) : memory_(device_allocate(bytes)) { fill_zero_on_device(memory_, bytes, nullptr); }
  ~Memory() { device_free(memory_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  float* get() const { return static_cast<float*>(memory_); }

 private:
  void* memory_;
};

__global__ void write_kernel(float* x, int index) {
  if (threadIdx.x == 0) x[index] = 1;
}

#if defined(__SANITIZE_ADDRESS__) || defined(SHORI_EMULATOR_MEMORY_CHECK)
__global__ void read_kernel(const float* x, int index, float* out) {
  if (threadIdx.x == 0) out[0] = x[index];
}
__global__ void read_vector_kernel(const float* x, int index, float* out) {
  if (threadIdx.x == 0) out[0] = reinterpret_cast<const float4*>(x + index)->w;
}
// Writes what a guard holds, so that nothing of it is left to see.
__global__ void write_guard_kernel(float* x, int index) {
  if (threadIdx.x == 0) reinterpret_cast<std::uint32_t*>(x)[index] = 0xa5a5a5a5u;
}
// A copy that no code of the kernel makes.
__global__ void copy_kernel(const float* x, int index, float* out) {
  SHORI_SHARED(float, tile, [4]);
  if (threadIdx.x != 0) return;
  cp_async_16(&tile[0], x + index);
  cp_async_commit();
  cp_async_wait<0>();
  out[0] = tile[0];
}

// `reach` runs a kernel that leaves an array.
#ifdef __SANITIZE_ADDRESS__
template <class Reach>
void expect_found(const Reach& reach, const char* what) {
  EXPECT_DEATH(reach(), "AddressSanitizer: use-after-poison") << what;
}
#else
template <class Reach>
void expect_found(const Reach& reach, const char* what) {
  std::string message = "no error";
  try {
    reach();
  } catch (const emulator::EmulatorError& error) {
    message = error.what();
  }
  EXPECT_NE(message.find(": memcheck: "), std::string::npos) << what << ": " << message;
}
#endif

TEST(DeviceMemoryDeathTest, AccessesOutsideAnArrayAreFound) {
  const Memory x(kFloats * sizeof(float)), odd(7 * sizeof(float)), out(sizeof(float));
  const int end = static_cast<int>(kFloats);
  const auto reads = [&](const Memory& from, int index) {
    launch(SHORI_KERNEL(read_kernel), 1, 32, 0, nullptr, from.get(), index, out.get());
  };
  reads(x, 0);
  reads(x, end - 1);
  expect_found([&] { reads(x, end); }, "the first float after the array");
  expect_found([&] { reads(x, end + 63); }, "the last one of the guard");
  expect_found([&] { reads(x, -1); }, "the float before the array");
  expect_found([&] { reads(x, -64); }, "the first one of the guard");
  expect_found([&] { launch(SHORI_KERNEL(read_vector_kernel), 1, 32, 0, nullptr, odd.get(), 4, out.get()); },
               "a vector that only its last float leaves the array with");
  expect_found([&] { launch(SHORI_KERNEL(write_guard_kernel), 1, 32, 0, nullptr, x.get(), end); },
               "a write of what is there");
  expect_found([&] { launch(SHORI_KERNEL(copy_kernel), 1, 32, 0, nullptr, x.get(), end, out.get()); },
               "an asynchronous copy");
}

TEST(DeviceMemoryDeathTest, AccessesToARedZoneAreFound) {
  const Memory region(1024 + 2 * RedZones::kBytes), out(sizeof(float));
  Workspace workspace(region.get(), 1024, 2 * RedZones::kBytes);
  const auto read_of = [&](int index) {
    const WorkspaceFrame frame(workspace);
    auto* slice = workspace.take_array<float>(10);
    workspace.take(8);
    fill_zero_on_device(slice, 40, nullptr);
    launch(SHORI_KERNEL(read_kernel), 1, 32, 0, nullptr, slice, index, out.get());
  };
  read_of(9);
  expect_found([&] { read_of(10); }, "the first float after a slice");
  expect_found([&] { read_of(300); }, "a float in the zone");
  // A slice that is given back has no zone any more.
  launch(SHORI_KERNEL(read_kernel), 1, 32, 0, nullptr, region.get(), 9, out.get());
  launch(SHORI_KERNEL(write_kernel), 1, 32, 0, nullptr, region.get(), 300);
}
#else
TEST(DeviceMemoryDeathTest, ChangedGuardsAreFound) {
  for (const int index : {-64, -1, 64, 127}) {
    EXPECT_DEATH(
        {
          const Memory x(kFloats * sizeof(float));
          launch(SHORI_KERNEL(write_kernel), 1, 32, 0, nullptr, x.get(), index);
        },
        "a kernel wrote outside an allocation of 256 bytes")
        << index;
  }
}
#endif

}  // namespace
}  // namespace shori
