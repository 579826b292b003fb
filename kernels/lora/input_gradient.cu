// dx with its LoRA part, written out for a consumer that is not one of our kernels: the library's attention backward.
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

constexpr int kRows = 8;

__global__ void __launch_bounds__(kGradientThreads, 1)
    input_gradient_kernel(const __grid_constant__ InputGradientLaunch a, Bf16* out) {
  SHORI_SHARED(float, dxa, [kMaxDxaColumns][kRows]);
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kRows;
  load_dxa<kRows>(a, first_row, dxa);
  const auto column = static_cast<int>((blockIdx.x * kGradientThreads + threadIdx.x) * kVector);
  if (column >= a.cols) return;
  float value[kRows][kVector];
  input_gradient<kRows>(a, first_row, column, dxa, value);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (first_row + row >= a.rows) continue;
    store_vector(value[row], out + (first_row + row) * a.cols + column);
  }
}

}  // namespace

void launch_input_gradient(const InputGradientLaunch& gradient, Bf16* out, cudaStream_t stream) {
  if (gradient.rows == 0) return;
  const dim3 grid(block_count(gradient.cols, kGradientThreads * kVector), block_count(gradient.rows, kRows));
  launch(SHORI_KERNEL(input_gradient_kernel), grid, kGradientThreads, 0, stream, gradient, out);
}

}  // namespace shori
