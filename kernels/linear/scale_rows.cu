// Rows of bf16 as the fp16 operand of nf4_product.cu. A block scales one row.
#include "kernels/common/cuda_common.cuh"
#include "kernels/linear/scale_rows_launch.h"

namespace shori {
namespace {

constexpr int kThreads = 256;

// 2^e that brings `largest` to [8, 16); what is not finite is left as it is. A row of zeros takes any factor.
__device__ __forceinline__ int row_exponent(float largest) {
  const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(largest) >> 23);
  if (exponent == 255) return 0;
  return 130 - exponent < 126 ? 130 - exponent : 126;
}
__device__ __forceinline__ float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

__global__ void __launch_bounds__(kThreads) scale_rows_kernel(ScaleRowsLaunch a) {
  SHORI_SHARED(float, partial, [32]);
  const auto row = static_cast<std::int64_t>(blockIdx.x);
  const Bf16* from = a.from + row * a.stride;
  const int width = a.cols + a.other_cols, first = static_cast<int>(threadIdx.x) * kVector;
  float largest = 0;
  for (int column = first; column < a.cols; column += kThreads * kVector) {
    float value[kVector];
    load_vector(from + column, value);
    for (int i = 0; i < kVector; ++i) largest = fabsf(value[i]) > largest ? fabsf(value[i]) : largest;
  }
  const int exponent = row_exponent(block_max(warp_max(largest), partial));
  const float factor = power_of_two(exponent);
  for (int column = first; column < width; column += kThreads * kVector) {
    float value[kVector];
    load_vector(from + column, value);
    for (int i = 0; i < kVector; ++i) value[i] *= factor;
    uint4 packed = pack_bf16_vector(value);
    if (column < a.cols) {
      packed = make_uint4(pack_half(value[0], value[1]), pack_half(value[2], value[3]), pack_half(value[4], value[5]),
                          pack_half(value[6], value[7]));
    }
    *reinterpret_cast<uint4*>(a.to + row * width + column) = packed;
  }
  if (threadIdx.x == 0) a.undo[row] = power_of_two(-exponent);
}

}  // namespace

void launch_scale_rows(const ScaleRowsLaunch& arguments, cudaStream_t stream) {
  launch(SHORI_KERNEL(scale_rows_kernel), static_cast<unsigned>(arguments.rows), kThreads, 0, stream, arguments);
}

}  // namespace shori
