// Gradient norm in two stages.
//
// Stage 1 sums each chunk by one thread block, with the tree of sum_of_squares_by_halving. Thread t holds the elements
// 1,024 k + 4 t + 0..3, so the halves of 2,048 and 1,024 elements are added inside a thread, those of 512 to 128 across
// warps, those of 64 to 4 across lanes, and the last two inside a thread again.
//
// Stage 2 adds the sums by one thread, because their order is fixed: 12,800 sums for 52 million parameters.
#include "kernels/common/cuda_common.cuh"
#include "kernels/common/tensor_table.cuh"
#include "kernels/optimizer/grad_norm_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kQuad = 4, kQuads = kNormChunk / (kThreads * kQuad);
constexpr int kWarps = kThreads / 32;
static_assert(kQuads == 4 && kWarps == 8);

struct Quad {
  float value[kQuad];
  __device__ void add(const Quad& other) {
    for (int i = 0; i < kQuad; ++i) value[i] += other.value[i];
  }
};

__device__ Quad squares(const float* data, std::int64_t index, std::int64_t count) {
  Quad result = {};
  if (index + kQuad <= count) {
    const float4 loaded = __ldcs(reinterpret_cast<const float4*>(data + index));
    result = {{loaded.x, loaded.y, loaded.z, loaded.w}};
  } else {
    for (int i = 0; i < kQuad; ++i) result.value[i] = index + i < count ? data[index + i] : 0.0f;
  }
  for (float& value : result.value) value *= value;
  return result;
}

__global__ void __launch_bounds__(kThreads, 1)
    square_sums_kernel(const GradNormEntry* table, int entries, float* sums) {
  SHORI_SHARED(Quad, of_warp, [kWarps][32]);
  const GradNormEntry entry = table[entry_of_chunk(table, entries, blockIdx.x)];
  const std::int64_t first = (blockIdx.x - entry.first) * kNormChunk;
  Quad part[kQuads];
  for (int k = 0; k < kQuads; ++k) {
    part[k] = squares(entry.data + first, (k * kThreads + static_cast<int>(threadIdx.x)) * kQuad, entry.count - first);
  }
  part[0].add(part[2]);
  part[1].add(part[3]);
  part[0].add(part[1]);
  const unsigned lane = threadIdx.x % 32;
  of_warp[threadIdx.x / 32][lane] = part[0];
  __syncthreads();
  if (threadIdx.x >= 32) return;
  Quad sum[kWarps / 2];
  for (int warp = 0; warp < kWarps / 2; ++warp) {
    sum[warp] = of_warp[warp][lane];
    sum[warp].add(of_warp[warp + kWarps / 2][lane]);
  }
  sum[0].add(sum[2]);
  sum[1].add(sum[3]);
  sum[0].add(sum[1]);
  for (unsigned lanes = 16; lanes > 0; lanes /= 2) {
    for (float& value : sum[0].value) value += __shfl_down_sync(kFullWarp, value, lanes);
  }
  const float* value = sum[0].value;
  if (lane == 0) sums[blockIdx.x] = (value[0] + value[2]) + (value[1] + value[3]);
}

__global__ void __launch_bounds__(kThreads, 1)
    ordered_sum_kernel(const float* sums, std::int64_t count, double* total) {
  SHORI_SHARED(float, stage, [kThreads]);
  double sum = 0;
  for (std::int64_t first = 0; first < count; first += kThreads) {
    __syncthreads();
    if (first + threadIdx.x < count) stage[threadIdx.x] = sums[first + threadIdx.x];
    __syncthreads();
    if (threadIdx.x != 0) continue;
    const int staged = static_cast<int>(count - first < kThreads ? count - first : kThreads);
    for (int i = 0; i < staged; ++i) sum += static_cast<double>(stage[i]);
  }
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

void launch_square_sums(const GradNormEntry* table, int entries, std::int64_t chunks, float* sums,
                        cudaStream_t stream) {
  if (chunks == 0) return;
  launch(SHORI_KERNEL(square_sums_kernel), static_cast<unsigned>(chunks), kThreads, 0, stream, table, entries, sums);
}

void launch_ordered_sum(const float* sums, std::int64_t count, double* total, cudaStream_t stream) {
  launch(SHORI_KERNEL(ordered_sum_kernel), 1, kThreads, 0, stream, sums, count, total);
}

}  // namespace shori
