// Embedding lookup: each thread copies 16 bytes, a few blocks copy a row.
#include "kernels/common/cuda_common.cuh"
#include "kernels/layer/embed_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads, 1) embed_kernel(EmbedLaunch a, unsigned blocks_of_row) {
  const std::int64_t row = blockIdx.x / blocks_of_row;
  const std::int64_t column = (blockIdx.x % blocks_of_row * kThreads + threadIdx.x) * std::int64_t{kVector};
  if (column >= a.cols) return;
  const std::int64_t id = __ldg(a.ids + row);
  *reinterpret_cast<uint4*>(a.x + row * a.x_stride + column) =
      __ldg(reinterpret_cast<const uint4*>(a.table + id * a.table_stride + column));
}

}  // namespace

void launch_embed(const EmbedLaunch& arguments, cudaStream_t stream) {
  if (arguments.rows == 0) return;
  const unsigned blocks_of_row = block_count(arguments.cols, kThreads * kVector);
  launch(SHORI_KERNEL(embed_kernel), static_cast<unsigned>(arguments.rows) * blocks_of_row, kThreads, 0, stream,
         arguments, blocks_of_row);
}

}  // namespace shori
