// The masks of a group as bits, for a pass that has not computed the gradients of A before. A thread draws one byte.
#include "kernels/common/cuda_common.cuh"
#include "kernels/lora/dropout_mask_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 8;  // of a block

__global__ void __launch_bounds__(kThreads) draw_masks_kernel(const __grid_constant__ DrawMasksLaunch a) {
  const std::int64_t groups = a.cols / kVector, group = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (group >= groups) return;
  const auto module = static_cast<int>(blockIdx.y);
  for (std::int64_t row = std::int64_t{blockIdx.z} * kRows; row < a.rows && row < (blockIdx.z + 1) * kRows; ++row) {
    const KeptColumns kept = kept_columns(a.mask, a.module_index[module], static_cast<std::uint32_t>(row),
                                          static_cast<std::uint32_t>(group));
    a.kept[(row * a.modules + module) * groups + group] = kept_byte(kept);
  }
}

}  // namespace

void launch_draw_masks(const DrawMasksLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const dim3 grid(block_count(arguments.cols / kVector, kThreads), static_cast<unsigned>(arguments.modules),
                  block_count(arguments.rows, kRows));
  launch(SHORI_KERNEL(draw_masks_kernel), grid, kThreads, 0, stream, arguments);
}

}  // namespace shori
