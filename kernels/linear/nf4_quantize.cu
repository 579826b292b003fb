// Values to codes, 8 a thread: 8 neighbouring lanes hold one block of 64. Then the double quantization, in three small
// kernels whose fp64 sums run in the order of the CPU version.
#include <cmath>

#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_quantize_launch.h"
#include "shori/io/half.h"
#include "shori/quant/blockwise8.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;
constexpr unsigned kInfinityBits = 0x7f800000u;
constexpr unsigned kSmallestNormalBits = 0x00800000u;

struct FromBf16 {
  static __device__ void load(const void* values, std::int64_t piece, float (&value)[kPiece]) {
    unpack_bf16(__ldcs(static_cast<const uint4*>(values) + piece), value);
  }
};
struct FromF16 {
  static __device__ void load(const void* values, std::int64_t piece, float (&value)[kPiece]) {
    const uint4 packed = __ldcs(static_cast<const uint4*>(values) + piece);
    const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
    for (int i = 0; i < kPiece; ++i) {
      value[i] = half_to_float(static_cast<std::uint16_t>(words[i / 2] >> (i % 2 * 16)));
    }
  }
};
struct FromF32 {
  static __device__ void load(const void* values, std::int64_t piece, float (&value)[kPiece]) {
    for (int half = 0; half < 2; ++half) {
      const float4 four = __ldcs(static_cast<const float4*>(values) + piece * 2 + half);
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
  const std::int64_t piece = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool inside = piece < a.count / kPiece;
  float value[kPiece] = {};  // zeros behind the end change neither absmax nor codes
  if (inside) Source::load(a.values, piece, value);
  unsigned most = 0;  // of non-negative floats, order of bits = order of values, and NaN and Inf come last
  for (int i = 0; i < kPiece; ++i) {
    const unsigned bits = std::bit_cast<unsigned>(value[i]) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  for (int lanes = 1; lanes < kNf4BlockSize / kPiece; lanes *= 2) {
    const unsigned other = __shfl_xor_sync(kFullWarp, most, lanes);
    most = other > most ? other : most;
  }
  if (!inside) return;
  if (most < kSmallestNormalBits) most = 0;
  unsigned codes = 0;
  if (most != 0) {
    const float reciprocal = 1.0f / std::bit_cast<float>(most);
    for (int i = 0; i < kPiece; ++i) {  // the even element of a byte is its high nibble
      codes |= code_of(value[i] * reciprocal) << (i / 2 * 8 + (i % 2 == 0 ? 4 : 0));
    }
  }
  reinterpret_cast<unsigned*>(a.codes)[piece] = codes;
  constexpr int kPieces = kNf4BlockSize / kPiece;
  if (piece % kPieces == 0) a.block_absmax[piece / kPieces] = std::bit_cast<float>(most);
}

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

// One block; thread 0 adds in order what all have fetched.
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

__global__ void __launch_bounds__(kNf4GroupSize) absmax_encode_kernel(AbsmaxLaunch a) {
  SHORI_SHARED(float, map, [kMapSize]);
  SHORI_SHARED(float, partial, [32]);
  const std::int64_t group = blockIdx.x, block = group * kNf4GroupSize + threadIdx.x;
  map[threadIdx.x] = a.map[threadIdx.x];
  const bool inside = block < a.blocks;
  const float value = inside ? a.block_absmax[block] - a.findings->offset : 0.0f;
  const float most = block_max(fabsf(value), partial);
  if (inside) a.absmax[block] = nearest_in_map(map, value * (1.0f / most));
  if (threadIdx.x == 0) a.absmax2[group] = most;
}

}  // namespace

void launch_nf4_quantize(const Nf4QuantizeLaunch& arguments, cudaStream_t stream) {
  if (arguments.count == 0) return;
  const auto kernel = arguments.source == FileDType::kBf16  ? nf4_quantize_kernel<FromBf16>
                      : arguments.source == FileDType::kF16 ? nf4_quantize_kernel<FromF16>
                                                            : nf4_quantize_kernel<FromF32>;
  launch(kernel, static_cast<unsigned>(divide_up<std::int64_t>(arguments.count / kPiece, kThreads)), kThreads, 0,
         stream, arguments);
}

void launch_nf4_quantize_absmax(const AbsmaxLaunch& arguments, cudaStream_t stream) {
  static_assert(kNf4GroupSize == kMapSize, "a thread of absmax_encode_kernel fetches one entry of the map");
  constexpr int kGroupThreads = 32;  // few groups: spread them over the multiprocessors
  const std::int64_t groups = nf4_groups(arguments.blocks);
  launch(absmax_groups_kernel, static_cast<unsigned>(divide_up<std::int64_t>(groups, kGroupThreads)), kGroupThreads, 0,
         stream, arguments);
  launch(absmax_total_kernel, 1, kThreads, 0, stream, arguments, groups);
  launch(absmax_encode_kernel, static_cast<unsigned>(groups), kNf4GroupSize, 0, stream, arguments);
}

}  // namespace shori
