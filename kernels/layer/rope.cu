// Rotary embedding in place: a thread turns 8 pairs of one head. The table's rows stay in the L1 cache of the block
// that works on their token.
#include <algorithm>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/rope_launch.h"

namespace shori {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kPiece = 8;  // values of one 16-byte access

__global__ void __launch_bounds__(kMaxThreads, 1) rope_kernel(RopeLaunch a) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t table_row = std::int64_t{__ldg(a.positions + row)} * a.half;
  const int pieces_of_head = a.half / kPiece;
  for (int piece = static_cast<int>(threadIdx.x); piece < a.heads_of_row * pieces_of_head;
       piece += static_cast<int>(blockDim.x)) {
    const int head = piece / pieces_of_head, column = piece % pieces_of_head * kPiece;
    auto* first = reinterpret_cast<uint4*>(a.heads + row * a.stride + head * 2 * a.half + column);
    auto* second = reinterpret_cast<uint4*>(a.heads + row * a.stride + head * 2 * a.half + a.half + column);
    float x[kPiece], y[kPiece], cos[kPiece], sin[kPiece];
    unpack_bf16(*first, x);
    unpack_bf16(*second, y);
    unpack_bf16(__ldg(reinterpret_cast<const uint4*>(a.cos + table_row + column)), cos);
    unpack_bf16(__ldg(reinterpret_cast<const uint4*>(a.sin + table_row + column)), sin);
    for (int i = 0; i < kPiece; ++i) {
      const float s = a.inverse ? -sin[i] : sin[i], left = x[i], right = y[i];
      x[i] = round_to_bf16(left * cos[i]) - round_to_bf16(right * s);
      y[i] = round_to_bf16(right * cos[i]) + round_to_bf16(left * s);
    }
    *first = pack_bf16_vector(x);
    *second = pack_bf16_vector(y);
  }
}

}  // namespace

void launch_rope(const RopeLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0 || arguments.heads_of_row == 0) return;
  const int pieces = arguments.heads_of_row * arguments.half / kPiece;
  const int threads = std::min(kMaxThreads, ceil_div(pieces, 32) * 32);
  launch(rope_kernel, static_cast<unsigned>(arguments.rows), static_cast<unsigned>(threads), 0, stream, arguments);
}

}  // namespace shori
