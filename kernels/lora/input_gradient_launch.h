// The gradient of a group's input as a kernel argument: the fused gradient [dx | dxA] that nf4_linear_backward left, and
// the factors A that turn dxA into the LoRA part of dx.
#pragma once

#include <optional>

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"
#include "shori/ops/device_limits.h"
#include "shori/ops/linear_group.h"

namespace shori {

struct InputGradientLaunch {
  const Bf16* dx = nullptr;  // [rows, cols + LoRA columns], 16-byte aligned
  std::int64_t stride = 0;   // of dx, a multiple of 8
  std::int64_t rows = 0, cols = 0;
  int modules = 0;  // number of modules with LoRA; the arrays are in the order of their lora_index
  int rank = 0;
  const Bf16* a[kMaxModulesOfGroup] = {};     // [rank, cols]
  int module_index[kMaxModulesOfGroup] = {};  // part of the mask's key
  DropoutMask mask;
};

// Checks the operands and fills the launch argument. `op` names the caller in messages.
InputGradientLaunch input_gradient_launch(const char* op, ConstTensorView fused_dx, std::int64_t cols,
                                          const std::optional<LoraInputGradient>& lora);

// out [rows, cols], rows without gaps: round(dx + its LoRA part).
SHORI_LAUNCHER void launch_input_gradient(const InputGradientLaunch& gradient, Bf16* out, cudaStream_t stream);

}  // namespace shori
