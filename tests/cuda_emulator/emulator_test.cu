// The emulator itself: fragment layouts against their formulas, and one wrong kernel for each error it must find.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "kernels/common/cuda_common.cuh"
#include "tests/cuda_emulator/device_buffer.h"

namespace shori {
namespace {

using emulator::EmulatorError;
using emulator::Schedule;
using testing::DeviceBuffer;

template <class Run>
std::string error_of(const Run& run) {
  try {
    run();
  } catch (const EmulatorError& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_ERROR(statement, text) \
  EXPECT_NE(error_of([&] { statement; }).find(text), std::string::npos) << error_of([&] { statement; })

// ---- Right kernels ----

__global__ void multiply_kernel(const Bf16* a, const Bf16* b, float* c, bool transposed_b) {  // (16,16) x (16,8)
  SHORI_SHARED(Bf16, left, [16][16]);
  SHORI_SHARED(Bf16, right, [16][8]);  // (k, column) when transposed_b, else the same bytes as (8 columns, 16 k)
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) left[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) right[i / 8][i % 8] = b[i];
  __syncthreads();
  std::uint32_t x[4], y[4];
  ldmatrix_x4(x, &left[lane % 16][lane / 16 * 8]);
  if (transposed_b)
    ldmatrix_x4_trans(y, &right[lane % 16][0]);
  else
    ldmatrix_x4(y, &right[0][0] + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sum[4] = {};
  mma_m16n8k16_bf16(sum, x, {y[0], y[1]});
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}

TEST(Emulator, MatrixFragmentsMatchTheirFormulas) {
  std::vector<Bf16> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[i] = to_bf16(static_cast<float>(i % 23 - 11));
  for (int i = 0; i < 128; ++i) b[i] = to_bf16(static_cast<float>(i % 17 - 8));
  for (const bool transposed : {false, true}) {
    DeviceBuffer<Bf16> device_a(a), device_b(b);
    DeviceBuffer<float> c(128);
    launch(SHORI_KERNEL(multiply_kernel), 1, 32, 0, nullptr, device_a.get(), device_b.get(), c.get(), transposed);
    const auto result = c.to_host();
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        float wanted = 0;
        for (int k = 0; k < 16; ++k)
          wanted += to_float(a[row * 16 + k]) * to_float(transposed ? b[k * 8 + column] : b[column * 16 + k]);
        EXPECT_EQ(result[row * 8 + column], wanted) << row << ' ' << column;
      }
    }
  }
}

__global__ void multiply_half_kernel(const std::uint16_t* a, const std::uint16_t* b, std::uint32_t* c, float* wide) {
  SHORI_SHARED(std::uint16_t, left, [16][16]);
  SHORI_SHARED(std::uint16_t, right, [8][16]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) left[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) right[i / 16][i % 16] = b[i];
  __syncthreads();
  std::uint32_t x[4], y[4], sum[2] = {};
  float wide_sum[4] = {};
  ldmatrix_x4(x, &left[lane % 16][lane / 16 * 8]);
  ldmatrix_x4(y, &right[lane % 8][lane / 8 % 2 * 8]);
  mma_m16n8k16_f16(sum, x, {y[0], y[1]});
  mma_m16n8k16_f16_f32(wide_sum, x, {y[0], y[1]});
  for (int i = 0; i < 2; ++i) c[(lane / 4 + i * 8) * 4 + lane % 4] = sum[i];
  for (int i = 0; i < 4; ++i) wide[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = wide_sum[i];
}

// Rounding of fp16 sums, by the definition of each way.
TEST(Emulator, HalfSumsAreRoundedOrTruncated) {
  std::vector<std::uint16_t> a(256), b(128);
  for (int i = 0; i < 256; ++i) a[i] = float_to_half(static_cast<float>(i % 23 - 11) / 7);
  for (int i = 0; i < 128; ++i) b[i] = float_to_half(static_cast<float>(i % 17 - 8) / 9);
  int truncated_less = 0;
  for (const bool truncated : {false, true}) {
    emulator::truncate_sums(truncated);
    DeviceBuffer<std::uint16_t> device_a(a), device_b(b);
    DeviceBuffer<std::uint32_t> c(64);
    DeviceBuffer<float> wide(128);
    launch(SHORI_KERNEL(multiply_half_kernel), 1, 32, 0, nullptr, device_a.get(), device_b.get(), c.get(), wide.get());
    const auto half = c.to_host();
    const auto single = wide.to_host();
    for (int i = 0; i < 128; ++i) {
      double exact = 0;
      for (int k = 0; k < 16; ++k) exact += double{half_to_float(a[i / 8 * 16 + k])} * half_to_float(b[i % 8 * 16 + k]);
      const float got = i % 2 == 0 ? low_half(half[i / 2]) : high_half(half[i / 2]);
      const float nearest = half_to_float(float_to_half(static_cast<float>(exact)));
      EXPECT_EQ(single[i], static_cast<float>(exact));
      if (!truncated) {
        EXPECT_EQ(got, nearest) << exact;
      } else {
        EXPECT_LE(std::fabs(got), std::fabs(exact));
        EXPECT_LT(std::fabs(exact) - std::fabs(got), std::max(std::fabs(exact) * 0x1p-10, 0x1p-24));
        truncated_less += std::fabs(got) < std::fabs(nearest) ? 1 : 0;
      }
    }
  }
  emulator::truncate_sums(false);
  EXPECT_GT(truncated_less, 20);
}

__global__ void warp_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int value = __shfl_down_sync(kFullWarp, lane, 4) + 100 * __shfl_up_sync(kFullWarp, lane, 1);
  if (__any_sync(kFullWarp, lane == 7) && !__all_sync(kFullWarp, lane == 7)) value += 10000;
  atomicAdd(out + 32, __popc(__ballot_sync(kFullWarp, lane % 3 == 0)));
  out[lane] = value;
}

TEST(Emulator, ShufflesAndVotes) {
  DeviceBuffer<int> out(std::vector<int>(33, 0));
  launch(SHORI_KERNEL(warp_kernel), 1, 32, 0, nullptr, out.get());
  const auto result = out.to_host();
  EXPECT_EQ(result[0], 10000 + 4);
  EXPECT_EQ(result[31], 10000 + 31 + 3000);
  EXPECT_EQ(result[32], 32 * 11);
}

// ---- Wrong kernels ----

__global__ void leaves_before_barrier_kernel() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}
__global__ void different_barriers_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void missing_lanes_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(kFullWarp, static_cast<int>(threadIdx.x), 1);
}
__global__ void partial_mask_kernel(int* out) { out[threadIdx.x] = __shfl_xor_sync(0xffffu, 1, 1); }
__global__ void unaligned_copy_kernel(const float* x) {
  SHORI_SHARED(float, tile, [64]);
  cp_async_16(tile + 1, x);
}
__global__ void copy_outside_kernel(const float* x) {
  SHORI_SHARED(float, tile, [64]);
  cp_async_16(tile + 64, x);
}
__global__ void too_much_shared_kernel(float* out) {
  SHORI_SHARED(float, tile, [16384]);
  out[0] = tile[0];
}

TEST(EmulatorErrors, AreFoundInEveryBuild) {
  DeviceBuffer<int> out(64);
  DeviceBuffer<float> x(std::vector<float>(64));
  EXPECT_ERROR(launch(SHORI_KERNEL(leaves_before_barrier_kernel), 1, 64, 0, nullptr),
               "wait for each other forever: threads 0-4 at __syncthreads");
  EXPECT_ERROR(launch(SHORI_KERNEL(different_barriers_kernel), 1, 64, 0, nullptr),
               "threads meet at different barriers");
  EXPECT_ERROR(launch(SHORI_KERNEL(missing_lanes_kernel), 1, 32, 0, nullptr, out.get()),
               "threads 16-31 left the kernel");
  EXPECT_ERROR(launch(SHORI_KERNEL(partial_mask_kernel), 1, 32, 0, nullptr, out.get()), "full mask");
  EXPECT_ERROR(launch(SHORI_KERNEL(unaligned_copy_kernel), 1, 32, 0, nullptr, x.get()), "multiple of 16");
  EXPECT_ERROR(launch(SHORI_KERNEL(copy_outside_kernel), 1, 32, 0, nullptr, x.get()), "outside shared memory");
  EXPECT_ERROR(launch(SHORI_KERNEL(too_much_shared_kernel), 1, 32, 0, nullptr, x.get()), "48 KiB");
  EXPECT_ERROR(launch(SHORI_KERNEL(warp_kernel), 1, 33, 0, nullptr, out.get()), "multiple of 32");
  launch(SHORI_KERNEL(warp_kernel), 1, 32, 0, nullptr, out.get());  // still usable after errors
}

TEST(EmulatorErrors, NameKernelAndShapeOfTheLaunch) {
  DeviceBuffer<int> out(64);
  EXPECT_ERROR(
      launch(SHORI_KERNEL(missing_lanes_kernel), dim3(2, 3), 32, 16, nullptr, out.get()),
      "; missing_lanes_kernel, grid 2 x 3 x 1, block 32 x 1 x 1, 16 bytes of dynamic shared memory, emulator_test.cu:");
}

// Each thread reads the value of its neighbour without a barrier.
__global__ void race_kernel(float* out) {
  SHORI_SHARED(float, tile, [64]);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = tile[(threadIdx.x + 63) % 64];
}
// Reads copies that it has not waited for.
__global__ void no_wait_kernel(const float* x, float* out) {
  SHORI_SHARED(float, tile, [128]);
  cp_async_16(tile + threadIdx.x * 4, x + threadIdx.x * 4);
  cp_async_commit();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}
#ifdef SHORI_EMULATOR_MEMORY_CHECK
// Each thread overwrites what the thread before has read, without a barrier.
__global__ void overwrite_kernel(float* out) {
  SHORI_SHARED(float, tile, [64]);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  const float next = threadIdx.x < 63 ? tile[threadIdx.x + 1] : 0.0f;
  tile[threadIdx.x] = next;
  out[threadIdx.x] = next;
}
// Shuffles do not order memory, so this needs a __syncwarp.
__global__ void warp_race_kernel(float* out, bool ordered) {
  SHORI_SHARED(float, tile, [32]);
  tile[threadIdx.x] = __shfl_sync(kFullWarp, 1.0f, 0);
  __shfl_sync(kFullWarp, 1.0f, 0);
  if (ordered) __syncwarp();
  out[threadIdx.x] = tile[threadIdx.x ^ 1];
}
#endif
__global__ void unwritten_kernel(float* out) {
  SHORI_SHARED(float, tile, [64]);
  if (threadIdx.x < 31) tile[threadIdx.x] = 0;
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}
__global__ void block_race_kernel(float* out) { out[(blockIdx.x + threadIdx.x) % 64] = static_cast<float>(blockIdx.x); }

#ifdef SHORI_EMULATOR_MEMORY_CHECK
TEST(MemoryCheck, FindsRacesAndUnwrittenMemory) {
  DeviceBuffer<float> x(std::vector<float>(128)), out(64);
  EXPECT_ERROR(launch(SHORI_KERNEL(race_kernel), 1, 64, 0, nullptr, out.get()), "check: ");
  EXPECT_ERROR(launch(SHORI_KERNEL(overwrite_kernel), 1, 64, 0, nullptr, out.get()), "written, and read by thread");
  EXPECT_ERROR(launch(SHORI_KERNEL(warp_race_kernel), 1, 32, 0, nullptr, out.get(), false), "racecheck");
  EXPECT_ERROR(launch(SHORI_KERNEL(unwritten_kernel), 1, 32, 0, nullptr, out.get()),
               "initcheck: read of unwritten shared memory");
  EXPECT_ERROR(launch(SHORI_KERNEL(no_wait_kernel), 1, 32, 0, nullptr, x.get(), out.get()), "initcheck");
  EXPECT_ERROR(launch(SHORI_KERNEL(block_race_kernel), 2, 32, 0, nullptr, out.get()), "racecheck: buffer byte");
  EXPECT_EQ(error_of([&] { launch(SHORI_KERNEL(warp_race_kernel), 1, 32, 0, nullptr, out.get(), true); }), "no error");
}
#else
std::vector<float> run(void (*kernel)(float*), unsigned blocks, unsigned threads, const Schedule& schedule) {
  emulator::set_schedule(schedule);
  DeviceBuffer<float> out(64);
  launch(SHORI_KERNEL(kernel), blocks, threads, 0, nullptr, out.get());
  emulator::set_schedule({});
  return out.to_host();
}

bool bits_differ(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) != 0;
}

TEST(Schedules, ShowRacesAndUnwrittenMemory) {
  const Schedule forward{}, reverse{Schedule::Order::kReverse, 1, false, 0};
  EXPECT_TRUE(bits_differ(run(race_kernel, 1, 64, forward), run(race_kernel, 1, 64, reverse)));
  EXPECT_TRUE(bits_differ(run(unwritten_kernel, 1, 32, forward), run(unwritten_kernel, 1, 32, reverse)));
  EXPECT_TRUE(bits_differ(run(block_race_kernel, 2, 32, forward), run(block_race_kernel, 2, 32, reverse)));
}

TEST(Schedules, ShowCopiesThatAreNotWaitedFor) {
  const std::vector<float> ones(128, 1.0f);
  DeviceBuffer<float> x(ones), out(32);
  for (const bool late : {false, true}) {
    emulator::set_schedule({.copies_land_late = late});
    launch(SHORI_KERNEL(no_wait_kernel), 1, 32, 0, nullptr, x.get(), out.get());
    emulator::set_schedule({});
    EXPECT_EQ(out.to_host() == std::vector<float>(32, 1.0f), !late);
  }
}
#endif

#ifdef __SANITIZE_ADDRESS__
__global__ void shared_overflow_kernel(float* out, int index) {
  SHORI_SHARED(float, tile, [32]);
  float* start = &tile[0];
  start[index] = 2;
  out[threadIdx.x] = start[0];
}
__global__ void global_overflow_kernel(float* out, int index) { out[index] = 1; }

TEST(AddressSanitizerDeathTest, SeesSharedAndGlobalOverflow) {
  DeviceBuffer<float> out(32);
  EXPECT_DEATH(launch(SHORI_KERNEL(shared_overflow_kernel), 1, 32, 0, nullptr, out.get(), 32),
               "AddressSanitizer: use-after-poison");
  EXPECT_DEATH(launch(SHORI_KERNEL(global_overflow_kernel), 1, 32, 0, nullptr, out.get(), 32),
               "AddressSanitizer: heap-buffer-overflow");
}
#endif

}  // namespace
}  // namespace shori
