// Frozen weights to fused rows [W | B']. A thread decodes vectors of 8 columns, 4 bytes of codes in and 16 bytes out, so
// a warp writes 512 neighbouring bytes. It reads several vectors before it writes the first, to keep enough loads in
// flight.
#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_dequantize_launch.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kInFlight = 4;  // vectors that a thread reads before it writes
constexpr int kRounds = 2;    // times that it does so

// A copy of the levels for each lane: 32 lanes that look up 32 codes never meet in one bank of shared memory.
using LevelTable = float[16][32];

__device__ uint4 decode(unsigned codes, float scale, const LevelTable& level, unsigned lane) {
  float value[kVector];
  for (int i = 0; i < kVector; ++i) {
    const unsigned byte = codes >> (i / 2 * 8);
    value[i] = level[(i % 2 == 0 ? byte >> 4 : byte) & 15u][lane] * scale;
  }
  return pack_bf16_vector(value);
}

// 8 of the LoRA columns of a row, from LoRA column `first` on: B' of this module, zeros elsewhere.
__device__ uint4 lora_vector(const Nf4DequantizeLaunch& a, std::int64_t row, std::int64_t first) {
  unsigned word[kVector / 2] = {};
  for (int i = 0; i < kVector && a.b != nullptr; ++i) {
    const std::int64_t column = first + i - a.b_column;
    if (column < 0 || column >= a.rank) continue;
    word[i / 2] |= static_cast<unsigned>(a.b[row * a.rank + column].bits) << (i % 2 * 16);
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

// kDense: the weight is bf16 and is copied.
template <bool kDense>
__global__ void __launch_bounds__(kThreads) nf4_dequantize_kernel(Nf4DequantizeLaunch a, unsigned vectors) {
  SHORI_SHARED(float, level, [16][32]);
  const unsigned lane = threadIdx.x % 32;
  if (!kDense) {
    for (unsigned i = threadIdx.x; i < 16 * 32; i += kThreads) level[i / 32][i % 32] = nf4_level(i / 32);
    __syncthreads();
  }
  const auto weight_vectors = static_cast<unsigned>(a.cols / kVector);  // of one row
  const auto row_vectors = static_cast<unsigned>((a.cols + a.lora_columns) / kVector);
  unsigned vector = blockIdx.x * (kThreads * kInFlight * kRounds) + threadIdx.x;
  unsigned row = vector / row_vectors, column = vector % row_vectors;
  for (int round = 0; round < kRounds; ++round) {
    struct {
      unsigned row, column, codes;
      bool inside;
      float scale;
      uint4 dense;
    } loads[kInFlight];
#pragma unroll
    for (auto& load : loads) {
      load.row = row;
      load.column = column;
      load.inside = vector < vectors;
      if (load.inside && column < weight_vectors) {
        const std::int64_t index = static_cast<std::int64_t>(row) * weight_vectors + column;
        if (kDense) {
          load.dense = __ldcs(reinterpret_cast<const uint4*>(a.dense) + index);
        } else {
          load.codes = __ldcs(reinterpret_cast<const unsigned*>(a.codes) + index);
          const std::int64_t block = index / (kNf4BlockSize / kVector);
          load.scale = a.scales != nullptr ? __ldg(a.scales + block)
                                           : nf4_scale(__ldg(a.map + __ldg(a.absmax + block)),
                                                       __ldg(a.absmax2 + block / kNf4GroupSize), a.offset);
        }
      }
      vector += kThreads;
      for (column += kThreads; column >= row_vectors; column -= row_vectors) ++row;
    }
#pragma unroll
    for (const auto& load : loads) {
      if (!load.inside) continue;
      auto* out = reinterpret_cast<uint4*>(a.out) + static_cast<std::int64_t>(load.row) * row_vectors + load.column;
      if (load.column >= weight_vectors) {
        *out = lora_vector(a, load.row, static_cast<std::int64_t>(load.column - weight_vectors) * kVector);
      } else {
        *out = kDense ? load.dense : decode(load.codes, load.scale, level, lane);
      }
    }
  }
}

}  // namespace

void launch_nf4_dequantize(const Nf4DequantizeLaunch& arguments, cudaStream_t stream) {
  const auto vectors = static_cast<unsigned>(arguments.rows * (arguments.cols + arguments.lora_columns) / kVector);
  const auto kernel = arguments.codes != nullptr ? SHORI_KERNEL(nf4_dequantize_kernel<false>)
                                                 : SHORI_KERNEL(nf4_dequantize_kernel<true>);
  launch(kernel, block_count(vectors, kThreads * kInFlight * kRounds), kThreads, 0, stream, arguments, vectors);
}

}  // namespace shori
