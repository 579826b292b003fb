// dx with its LoRA part, written out for a consumer that is not one of our kernels: the library's attention backward.
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

template <int kEights>
__global__ void __launch_bounds__(kGradientThreads, 2)
    input_gradient_kernel(const __grid_constant__ InputGradientLaunch a, Bf16* out) {
  for_each_tile<kEights>(a, [&](const GradientTile& tile, const auto& add_lora) {
    LaneValues value;
#pragma unroll
    for (int i = 0; i < kLaneTokens; ++i) {
      unpack_bf16(__ldcs(reinterpret_cast<const uint4*>(element(a.dx, a.stride, tile.rows.row[i], tile.column))),
                  value[i]);
    }
    add_lora(value);
#pragma unroll
    for (int i = 0; i < kLaneTokens; ++i) {
      if (tile.inside[i]) store_vector(value[i], element(out, a.cols, tile.rows.row[i], tile.column));
    }
  });
}

}  // namespace

void launch_input_gradient(const InputGradientLaunch& gradient, Bf16* out, cudaStream_t stream) {
  if (gradient.rows == 0) return;
  choose_eights(gradient, [&](auto eights) {
    launch(SHORI_KERNEL(input_gradient_kernel<eights>), gradient_grid(gradient), kGradientThreads,
           dxa_bytes<eights>(gradient.modules, kBlockTokens), stream, gradient, out);
  });
}

}  // namespace shori
