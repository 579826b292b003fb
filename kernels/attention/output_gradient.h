// The gradient of the attention output as the CPU versions of the backward pass read it.
#pragma once

#include "kernels/cpu/matmul.h"
#include "kernels/lora/lora_input.h"
#include "shori/ops/attention.h"

namespace shori {

// Returns dout [T, H D] with its LoRA part, rounded to `rounding`, and writes delta[h, t] = dout . out of each head. The
// memory comes from the workspace.
ConstMatrix load_output_gradient(const OpContext& context, const AttentionShape& shape, ConstTensorView out,
                                 const InputGradient& source, DType rounding, float* delta);

}  // namespace shori
