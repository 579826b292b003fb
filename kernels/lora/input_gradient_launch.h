// The gradient of a group's input as a kernel argument: the fused gradient [dx | dxA] that nf4_linear_backward left, and
// the factors A and masks that turn dxA into the LoRA part of dx.
#pragma once

#include <optional>

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"
#include "shori/ops/device_limits.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

struct InputGradientLaunch {
  const Bf16* dx = nullptr;  // [rows, cols + LoRA columns], 16-byte aligned
  std::int64_t stride = 0;   // of dx, a multiple of 8
  std::int64_t rows = 0, cols = 0;
  int modules = 0;  // number of modules with LoRA; the arrays are in the order of their lora_index
  int rank = 0;
  const Bf16* a[kMaxModulesOfGroup] = {};  // [rank, cols]
  const std::uint8_t* kept = nullptr;  // [rows, modules, cols / 8], kept_byte() of dropout_mask.cuh; null: no dropout
  float mask_scale = 1.0f;             // factor of kept elements
};

// Checks the operands and fills the launch argument. `op` names the caller in messages. Masks that `lora` does not have are
// drawn into the workspace, one bit per element and module; the caller holds a frame.
InputGradientLaunch input_gradient_launch(const OpContext& context, const char* op, ConstTensorView fused_dx,
                                          std::int64_t cols, const std::optional<LoraInputGradient>& lora);

// out [rows, cols], rows without gaps: round(dx + its LoRA part).
SHORI_LAUNCHER void launch_input_gradient(const InputGradientLaunch& gradient, Bf16* out, cudaStream_t stream);

}  // namespace shori
