// Launchers of ops/swiglu.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/input_gradient_launch.h"

namespace shori {

struct SwigluLaunch {
  const Bf16* gate_up;  // [rows, 2 * cols]
  Bf16* p;              // [rows, cols]
  std::int64_t gate_up_stride, p_stride;
  std::int64_t rows, cols;
};
SHORI_LAUNCHER void launch_swiglu(const SwigluLaunch& arguments, cudaStream_t stream);

// gate_up [rows, 2 * cols] becomes its gradient. `gradient` is the gradient of p.
SHORI_LAUNCHER void launch_swiglu_backward(const InputGradientLaunch& gradient, Bf16* gate_up, std::int64_t stride,
                                           cudaStream_t stream);

}  // namespace shori
