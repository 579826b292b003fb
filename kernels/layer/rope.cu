// RoPE in place: each thread rotates 8 pairs of one head. One block works on one token, so the rows of the table stay in
// its L1 cache.
#include <algorithm>

#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/rope_launch.h"

namespace shori {
namespace {

constexpr int kMaxThreads = 512;

__global__ void __launch_bounds__(kMaxThreads, 1) rope_kernel(RopeLaunch a) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t table_row = std::int64_t{__ldg(a.positions + row)} * a.half;
  const int vectors_of_head = a.half / kVector;
  for (int vector = static_cast<int>(threadIdx.x); vector < a.heads_of_row * vectors_of_head;
       vector += static_cast<int>(blockDim.x)) {
    const int head = vector / vectors_of_head, column = vector % vectors_of_head * kVector;
    Bf16* first = a.heads + row * a.stride + head * 2 * a.half + column;
    Bf16* second = first + a.half;
    float x[kVector], y[kVector], cos[kVector], sin[kVector];
    load_vector(first, x);
    load_vector(second, y);
    load_constant_vector(a.cos + table_row + column, cos);
    load_constant_vector(a.sin + table_row + column, sin);
    for (int i = 0; i < kVector; ++i) {
      const float s = a.inverse ? -sin[i] : sin[i], left = x[i], right = y[i];
      x[i] = round_to_bf16(left * cos[i]) - round_to_bf16(right * s);
      y[i] = round_to_bf16(right * cos[i]) + round_to_bf16(left * s);
    }
    store_vector(x, first);
    store_vector(y, second);
  }
}

}  // namespace

void launch_rope(const RopeLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0 || arguments.heads_of_row == 0) return;
  const int vectors = arguments.heads_of_row * arguments.half / kVector;
  const int threads = std::min(kMaxThreads, round_up(vectors, 32));
  launch(SHORI_KERNEL(rope_kernel), static_cast<unsigned>(arguments.rows), static_cast<unsigned>(threads), 0, stream,
         arguments);
}

}  // namespace shori
