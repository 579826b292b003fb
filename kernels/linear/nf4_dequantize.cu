// A thread takes pieces of 8 columns: 4 bytes of codes in, 16 bytes out, so a warp writes 512 neighbouring bytes.
// Several pieces are read before the first is written, to have enough loads under way.
#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/nf4_dequantize_launch.h"
#include "shori/quant/nf4_levels.h"

namespace shori {
namespace {

constexpr int kThreads = 256;
constexpr int kPieces = 4;  // under way at once
constexpr int kTurns = 2;
constexpr int kPiece = 8;

// A copy of the levels for each lane: 32 lanes that look up 32 codes never meet in one bank of shared memory.
using LevelTable = float[16][32];

__device__ uint4 decode(unsigned codes, float scale, const LevelTable& level, unsigned lane) {
  float value[kPiece];
  for (int i = 0; i < kPiece; ++i) {
    const unsigned byte = codes >> (i / 2 * 8);
    value[i] = level[(i % 2 == 0 ? byte >> 4 : byte) & 15u][lane] * scale;
  }
  return pack_bf16_vector(value);
}

// 8 columns of the tail, from column `first` of it.
__device__ uint4 tail_piece(const Nf4DequantizeLaunch& a, std::int64_t row, std::int64_t first) {
  unsigned word[kPiece / 2] = {};
  for (int i = 0; i < kPiece && a.b != nullptr; ++i) {
    const std::int64_t column = first + i - a.slot_column;
    if (column < 0 || column >= a.rank) continue;
    word[i / 2] |= static_cast<unsigned>(a.b[row * a.rank + column].bits) << (i % 2 * 16);
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

template <bool kDense>
__global__ void __launch_bounds__(kThreads) nf4_dequantize_kernel(Nf4DequantizeLaunch a, unsigned all_pieces) {
  SHORI_SHARED(float, level, [16][32]);
  const unsigned lane = threadIdx.x % 32;
  if (!kDense) {
    for (unsigned i = threadIdx.x; i < 16 * 32; i += kThreads) level[i / 32][i % 32] = nf4_level(i / 32);
    __syncthreads();
  }
  const auto weight_pieces = static_cast<unsigned>(a.cols / kPiece);
  const auto row_pieces = static_cast<unsigned>((a.cols + a.tail) / kPiece);
  unsigned piece = blockIdx.x * (kThreads * kPieces * kTurns) + threadIdx.x;
  unsigned row = piece / row_pieces, column = piece % row_pieces;
  for (int turn = 0; turn < kTurns; ++turn) {
    struct {
      unsigned row, column, codes;
      bool inside;
      float scale;
      uint4 dense;
    } at[kPieces];
#pragma unroll
    for (auto& here : at) {
      here.row = row;
      here.column = column;
      here.inside = piece < all_pieces;
      if (here.inside && column < weight_pieces) {
        const std::int64_t group = static_cast<std::int64_t>(row) * weight_pieces + column;
        if (kDense) {
          here.dense = __ldcs(reinterpret_cast<const uint4*>(a.dense) + group);
        } else {
          here.codes = __ldcs(reinterpret_cast<const unsigned*>(a.codes) + group);
          const std::int64_t block = group / (kNf4BlockSize / kPiece);
          here.scale = a.scales != nullptr ? __ldg(a.scales + block)
                                           : nf4_scale(__ldg(a.map + __ldg(a.absmax + block)),
                                                       __ldg(a.absmax2 + block / kNf4GroupSize), a.offset);
        }
      }
      piece += kThreads;
      for (column += kThreads; column >= row_pieces; column -= row_pieces) ++row;
    }
#pragma unroll
    for (const auto& here : at) {
      if (!here.inside) continue;
      auto* out = reinterpret_cast<uint4*>(a.out) + static_cast<std::int64_t>(here.row) * row_pieces + here.column;
      if (here.column >= weight_pieces) {
        *out = tail_piece(a, here.row, static_cast<std::int64_t>(here.column - weight_pieces) * kPiece);
      } else {
        *out = kDense ? here.dense : decode(here.codes, here.scale, level, lane);
      }
    }
  }
}

}  // namespace

void launch_nf4_dequantize(const Nf4DequantizeLaunch& arguments, cudaStream_t stream) {
  const auto pieces = static_cast<unsigned>(arguments.rows * (arguments.cols + arguments.tail) / kPiece);
  const auto kernel = arguments.codes != nullptr ? nf4_dequantize_kernel<false> : nf4_dequantize_kernel<true>;
  launch(kernel, divide_up<unsigned>(pieces, kThreads * kPieces * kTurns), kThreads, 0, stream, arguments, pieces);
}

}  // namespace shori
