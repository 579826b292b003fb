// The rounded copies of the LoRA factors. They are made once after loading, so one element per thread is fast enough.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/lora_factor_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads, 1)
    round_lora_factor_kernel(const float* master, float scale, Bf16* out, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = to_bf16(master[i] * scale);
}

}  // namespace

void launch_round_lora_factor(const float* master, float scale, Bf16* out, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  launch(SHORI_KERNEL(round_lora_factor_kernel), block_count(count, kThreads), kThreads, 0, stream, master, scale, out,
         count);
}

}  // namespace shori
