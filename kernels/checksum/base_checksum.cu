// Checksum of frozen weights. Addition of integers gives one result in any order, so thread blocks add their sums
// atomically.
#include <algorithm>

#include "kernels/checksum/base_checksum_launch.h"
#include "kernels/checksum/checksum_mix.h"
#include "kernels/common/cuda_common.cuh"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr std::uint64_t kPairBytes = 16;   // two words of one access
constexpr std::uint64_t kMaxBlocks = 512;  // fills any card, and each block adds to the sum only once
constexpr std::uint64_t kWordBytes = 8;

__device__ std::uint64_t word_of(unsigned low, unsigned high) { return std::uint64_t{high} << 32 | low; }

// Adds the words after the last whole pair; the last word is padded with zeros.
__device__ std::uint64_t sum_of_rest(const std::uint8_t* data, std::uint64_t bytes) {
  std::uint64_t sum = 0;
  for (std::uint64_t first = bytes / kPairBytes * kPairBytes; first < bytes; first += kWordBytes) {
    std::uint64_t word = 0;
    for (std::uint64_t i = 0; i < kWordBytes && first + i < bytes; ++i) {
      word |= std::uint64_t{data[first + i]} << (8 * i);
    }
    sum += checksum_of_word(word, first / kWordBytes);
  }
  return sum;
}

__global__ void __launch_bounds__(kThreads, 1)
    base_checksum_kernel(const std::uint8_t* data, std::uint64_t bytes, unsigned long long* total) {
  SHORI_SHARED(unsigned long long, partial, [kThreads / 32]);
  const auto* pairs = reinterpret_cast<const uint4*>(data);
  const std::uint64_t count = bytes / kPairBytes, threads = std::uint64_t{gridDim.x} * kThreads;
  const std::uint64_t self = std::uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  unsigned long long sum = 0;
#pragma unroll 4
  for (std::uint64_t i = self; i < count; i += threads) {
    const uint4 pair = __ldcs(pairs + i);
    sum += checksum_of_word(word_of(pair.x, pair.y), 2 * i) + checksum_of_word(word_of(pair.z, pair.w), 2 * i + 1);
  }
  if (self == 0) sum += sum_of_rest(data, bytes);
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(kFullWarp, sum, bits);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kThreads / 32; ++warp) sum += partial[warp];
  atomicAdd(total, sum);
}

}  // namespace

void launch_base_checksum(const void* data, std::uint64_t bytes, unsigned long long* sum, cudaStream_t stream) {
  if (bytes == 0) return;
  const std::uint64_t blocks =
      std::clamp<std::uint64_t>(ceil_div(bytes / kPairBytes, std::uint64_t{kThreads}), 1, kMaxBlocks);
  launch(SHORI_KERNEL(base_checksum_kernel), static_cast<unsigned>(blocks), kThreads, 0, stream,
         static_cast<const std::uint8_t*>(data), bytes, sum);
}

}  // namespace shori
