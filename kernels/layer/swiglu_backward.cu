// Backward of SwiGLU in place. A warp completes the gradient of p for 64 columns and 8 tokens (kernels/lora/input_gradient.cuh)
// and uses it at once. The loads of a tile are started before its product, which hides a part of their latency.
#include <cmath>

#include "kernels/layer/swiglu_launch.h"
#include "kernels/lora/input_gradient.cuh"

namespace shori {
namespace {

// An error of an ulp is that of expf as well, and is far below the rounding to bf16.
__device__ __forceinline__ float sigmoid(float gate) { return approximate_reciprocal(1.0f + expf(-gate)); }

// gate and up become their gradients.
__device__ __forceinline__ void swiglu_gradient(const float (&dp)[kVector], float (&gate)[kVector],
                                                float (&up)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float s = sigmoid(gate[i]), d = dp[i];
    const float dgate = d * up[i] * s * (1.0f + gate[i] * (1.0f - s));
    up[i] = d * gate[i] * s;
    gate[i] = dgate;
  }
}

template <int kEights>
__global__ void __launch_bounds__(kGradientThreads, 2)
    swiglu_backward_kernel(const __grid_constant__ InputGradientLaunch a, Bf16* gate_up, std::int64_t stride) {
  for_each_tile<kEights>(a, [&](const GradientTile& tile, const auto& add_lora) {
    uint4 dx[kLaneTokens], gates[kLaneTokens] = {}, ups[kLaneTokens] = {};
#pragma unroll
    for (int i = 0; i < kLaneTokens; ++i) {
      dx[i] = __ldcs(reinterpret_cast<const uint4*>(element(a.dx, a.stride, tile.rows.row[i], tile.column)));
      if (!tile.inside[i]) continue;
      const Bf16* gate = element(gate_up, stride, tile.rows.row[i], tile.column);
      gates[i] = __ldcs(reinterpret_cast<const uint4*>(gate));
      ups[i] = __ldcs(reinterpret_cast<const uint4*>(gate + a.cols));
    }
    LaneValues dp;
#pragma unroll
    for (int i = 0; i < kLaneTokens; ++i) unpack_bf16(dx[i], dp[i]);
    add_lora(dp);
#pragma unroll
    for (int i = 0; i < kLaneTokens; ++i) {
      float gate[kVector], up[kVector];
      unpack_bf16(gates[i], gate);
      unpack_bf16(ups[i], up);
      swiglu_gradient(dp[i], gate, up);
      if (!tile.inside[i]) continue;
      Bf16* to = element(gate_up, stride, tile.rows.row[i], tile.column);
      store_vector(gate, to);
      store_vector(up, to + a.cols);
    }
  });
}

}  // namespace

void launch_swiglu_backward(const InputGradientLaunch& gradient, Bf16* gate_up, std::int64_t stride,
                            cudaStream_t stream) {
  if (gradient.rows == 0) return;
  choose_eights(gradient, [&](auto eights) {
    launch(SHORI_KERNEL(swiglu_backward_kernel<eights>), gradient_grid(gradient), kGradientThreads,
           dxa_bytes<eights>(gradient.modules, kBlockTokens), stream, gradient, gate_up, stride);
  });
}

}  // namespace shori
