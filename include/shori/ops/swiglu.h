// SwiGLU: p = silu(gate) * up. Source: transformers MistralMLP.
#pragma once

#include <optional>

#include "shori/ops/op_context.h"
#include "shori/ops/rms_norm.h"

namespace shori {

// gate_up [T, 2F] (gate columns first), p [T, F] (longer rows allowed): p = round( round(silu(gate)) * up ), silu in
// fp32. Bytes: 3 T F elements.
void swiglu(const OpContext& context, ConstTensorView gate_up, TensorView p);

// In place: gate_up becomes [dgate | dup]. fused_dp: first F columns, plus the LoRA part of down's input with
// `lora`. With s = 1/(1+e^-g): dgate = dp * up * s * (1 + g (1 - s)), dup = dp * g * s; fp32 inside, one rounding.
// Bytes: 5 T F elements.
void swiglu_backward(const OpContext& context, ConstTensorView fused_dp, std::optional<LoraInputGradient> lora,
                     TensorView gate_up);

}  // namespace shori
