// The gradient of a group's input as kernels take it: rows [dx | dxA] of nf4_linear_backward and the factors A that
// turn dxA into the LoRA part of dx.
#pragma once

#include <optional>

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"
#include "shori/ops/device_limits.h"
#include "shori/ops/linear_group.h"

namespace shori {

struct InputGradientLaunch {
  const Bf16* dx = nullptr;  // [rows, cols + dxA columns], 16-byte aligned
  std::int64_t stride = 0;   // a multiple of 8
  std::int64_t rows = 0, cols = 0;
  int slots = 0;  // modules with LoRA
  int rank = 0;
  const Bf16* a[kMaxModulesOfGroup] = {};  // by slot, [rank, cols]
  int module[kMaxModulesOfGroup] = {};     // by slot, part of the mask's key
  DropoutMask mask;
};

// The launch argument for rows `fused_dx`, checked. `op` names the caller in messages.
InputGradientLaunch input_gradient_launch(const char* op, ConstTensorView fused_dx, std::int64_t cols,
                                          const std::optional<LoraInputGradient>& lora);

// out [rows, cols], rows without gaps: round(dx + its LoRA part). For attention's backward, which is a library's.
SHORI_LAUNCHER void launch_input_gradient(const InputGradientLaunch& gradient, Bf16* out, cudaStream_t stream);

}  // namespace shori
