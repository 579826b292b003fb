// NF4 quantization: each thread turns 8 values into codes, so 8 neighbouring lanes hold one block of 64. Three small
// kernels then quantize the absmax of the blocks; their fp64 sums run in the order of the CPU version.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_quantize_launch.h"
#include "shori/io/half.h"
#include "shori/quant/blockwise8.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kInfinityBits = 0x7f800000u;
constexpr unsigned kSmallestNormalBits = 0x00800000u;

struct FromBf16 {
  static __device__ void load(const void* values, std::int64_t vector, float (&value)[kVector]) {
    unpack_bf16(__ldcs(static_cast<const uint4*>(values) + vector), value);
  }
};
struct FromF16 {
  static __device__ void load(const void* values, std::int64_t vector, float (&value)[kVector]) {
    const uint4 packed = __ldcs(static_cast<const uint4*>(values) + vector);
    const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
    for (int i = 0; i < kVector; ++i) {
      value[i] = half_to_float(static_cast<std::uint16_t>(words[i / 2] >> (i % 2 * 16)));
    }
  }
};
struct FromF32 {
  static __device__ void load(const void* values, std::int64_t vector, float (&value)[kVector]) {
    for (int half = 0; half < 2; ++half) {
      const float4 four = __ldcs(static_cast<const float4*>(values) + vector * 2 + half);
      value[4 * half] = four.x;
      value[4 * half + 1] = four.y;
      value[4 * half + 2] = four.z;
      value[4 * half + 3] = four.w;
    }
  }
};

__device__ unsigned code_of(float normalized) {
  unsigned code = 0;
#pragma unroll
  for (unsigned i = 0; i < 15; ++i) code += normalized > nf4_threshold(i) ? 1 : 0;
  return code;
}

template <class Source>
__global__ void __launch_bounds__(kThreads) nf4_quantize_kernel(Nf4QuantizeLaunch a) {
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool inside = vector < a.count / kVector;
  float value[kVector] = {};  // zeros past the end change neither absmax nor codes
  if (inside) Source::load(a.values, vector, value);
  // Bits of non-negative floats are ordered as their values are, with Inf and then NaN at the end.
  unsigned absmax = 0;
  for (int i = 0; i < kVector; ++i) {
    const unsigned bits = std::bit_cast<unsigned>(value[i]) & 0x7fffffffu;
    absmax = bits > absmax ? bits : absmax;
  }
  for (int lanes = 1; lanes < kNf4BlockSize / kVector; lanes *= 2) {
    const unsigned other = __shfl_xor_sync(kFullWarp, absmax, lanes);
    absmax = other > absmax ? other : absmax;
  }
  if (!inside) return;
  if (absmax < kSmallestNormalBits) absmax = 0;
  unsigned codes = 0;
  if (absmax != 0) {
    const float reciprocal = 1.0f / std::bit_cast<float>(absmax);
    for (int i = 0; i < kVector; ++i) {  // the even element of a byte is its high nibble
      codes |= code_of(value[i] * reciprocal) << (i / 2 * 8 + (i % 2 == 0 ? 4 : 0));
    }
  }
  reinterpret_cast<unsigned*>(a.codes)[vector] = codes;
  constexpr int kBlockVectors = kNf4BlockSize / kVector;
  if (vector % kBlockVectors == 0) a.block_absmax[vector / kBlockVectors] = std::bit_cast<float>(absmax);
}

// Each thread sums one group of 256 absmax.
__global__ void __launch_bounds__(kThreads) absmax_groups_kernel(AbsmaxLaunch a) {
  const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t first = group * kNf4GroupSize;
  if (first >= a.blocks) return;
  const std::int64_t last = first + kNf4GroupSize < a.blocks ? first + kNf4GroupSize : a.blocks;
  AbsmaxGroup result{0, 0, -1};
  for (std::int64_t block = first; block < last; ++block) {
    const float absmax = a.block_absmax[block];
    result.sum += absmax;
    result.zero_blocks += absmax == 0 ? 1 : 0;
    if (result.bad_block < 0 && std::bit_cast<unsigned>(absmax) >= kInfinityBits) result.bad_block = block;
  }
  a.groups[group] = result;
}

// One thread block: all threads fetch groups, thread 0 adds them in order.
__global__ void __launch_bounds__(kThreads) absmax_total_kernel(AbsmaxLaunch a, std::int64_t groups) {
  SHORI_SHARED(AbsmaxGroup, fetched, [kThreads]);
  AbsmaxGroup total{0, 0, -1};
  for (std::int64_t first = 0; first < groups; first += kThreads) {
    const std::int64_t count = groups - first < kThreads ? groups - first : kThreads;
    if (threadIdx.x < count) fetched[threadIdx.x] = a.groups[first + threadIdx.x];
    __syncthreads();
    for (std::int64_t i = 0; i < count && threadIdx.x == 0; ++i) {
      total.sum += fetched[i].sum;
      total.zero_blocks += fetched[i].zero_blocks;
      if (total.bad_block < 0) total.bad_block = fetched[i].bad_block;
    }
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  *a.findings = {total.zero_blocks, total.bad_block, static_cast<float>(total.sum / static_cast<double>(a.blocks))};
}

// One thread block per group of 256 absmax, one thread per absmax.
__global__ void __launch_bounds__(kNf4GroupSize) absmax_encode_kernel(AbsmaxLaunch a) {
  SHORI_SHARED(float, map, [kMapSize]);
  SHORI_SHARED(float, partial, [32]);
  const std::int64_t group = blockIdx.x, block = group * kNf4GroupSize + threadIdx.x;
  map[threadIdx.x] = a.map[threadIdx.x];
  const bool inside = block < a.blocks;
  const float value = inside ? a.block_absmax[block] - a.findings->offset : 0.0f;
  const float absmax2 = block_max(fabsf(value), partial);
  if (inside) a.absmax[block] = nearest_in_map(map, value * (1.0f / absmax2));
  if (threadIdx.x == 0) a.absmax2[group] = absmax2;
}

}  // namespace

void launch_nf4_quantize(const Nf4QuantizeLaunch& arguments, cudaStream_t stream) {
  if (arguments.count == 0) return;
  const auto kernel = arguments.source == FileDType::kBf16  ? SHORI_KERNEL(nf4_quantize_kernel<FromBf16>)
                      : arguments.source == FileDType::kF16 ? SHORI_KERNEL(nf4_quantize_kernel<FromF16>)
                                                            : SHORI_KERNEL(nf4_quantize_kernel<FromF32>);
  launch(kernel, block_count(arguments.count / kVector, kThreads), kThreads, 0, stream, arguments);
}

void launch_nf4_quantize_absmax(const AbsmaxLaunch& arguments, cudaStream_t stream) {
  static_assert(kNf4GroupSize == kMapSize, "a thread of absmax_encode_kernel fetches one entry of the map");
  constexpr int kGroupThreads = 32;  // small blocks spread the few groups over the multiprocessors
  const std::int64_t groups = nf4_groups(arguments.blocks);
  launch(SHORI_KERNEL(absmax_groups_kernel), block_count(groups, kGroupThreads), kGroupThreads, 0, stream, arguments);
  launch(SHORI_KERNEL(absmax_total_kernel), 1, kThreads, 0, stream, arguments, groups);
  launch(SHORI_KERNEL(absmax_encode_kernel), static_cast<unsigned>(groups), kNf4GroupSize, 0, stream, arguments);
}

}  // namespace shori
