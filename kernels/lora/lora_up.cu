// y += xA B'^T for the few tokens of decoding: one thread per output column, which reads its row of B' once for each token.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/lora_up_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) lora_up_kernel(LoraUpLaunch a) {
  const int column = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int token = static_cast<int>(blockIdx.y);
  if (column >= a.out) return;
  const Bf16 *row = a.b + static_cast<std::int64_t>(column) * a.rank, *xa = a.xa + token * a.xa_stride;
  float sum = 0;
  for (int i = 0; i < a.rank; ++i) sum += to_float(xa[i]) * to_float(row[i]);
  Bf16& y = a.y[token * a.y_stride + column];
  y = to_bf16(to_float(y) + sum);
}

}  // namespace

void launch_lora_up(const LoraUpLaunch& arguments, cudaStream_t stream) {
  if (arguments.tokens == 0) return;
  const dim3 grid(block_count(arguments.out, kThreads), static_cast<unsigned>(arguments.tokens));
  launch(SHORI_KERNEL(lora_up_kernel), grid, kThreads, 0, stream, arguments);
}

}  // namespace shori
