// SwiGLU.
//
//   p = round( round(silu(gate)) * up )
//
// and backward, with s = 1 / (1 + e^-gate):
//
//   dgate = dp * up * s * (1 + gate * (1 - s))
//   dup = dp * gate * s
//
// Rounding: fp32 inside; p twice as shown, dgate and dup once.
// Deterministic: no sums but those of the LoRA part. The CPU and a device differ where their e^x differs.
// Workspace on a device: none, except one bit per element and module where the backward pass has to draw dropout masks.
// Source: transformers MistralMLP.
#pragma once

#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// gate_up [T, 2F], gate columns first. p [T, F], rows may be longer. Cost: 3 T F elements read or written.
void swiglu(const OpContext& context, ConstTensorView gate_up, TensorView p);

// In place: gate_up becomes [dgate | dup]. fused_dp: its first F columns are the gradient of p; with `lora` the op adds
// the LoRA part of the down projection's input gradient. Cost: 5 T F elements read or written.
void swiglu_backward(const OpContext& context, ConstTensorView fused_dp, std::optional<LoraInputGradient> lora,
                     TensorView gate_up);

}  // namespace shori
