// RMSNorm, with the residual add before it in the same pass.
//
//   h = x + delta                                         (h = x without delta)
//   y = weight * round(h * rsqrt(mean(h^2) + eps))
//
// Rounding: h once; y before and after the weight, as transformers does. fp32 inside. dh once.
// Order of the sums: fixed for each row.
// Deterministic: the result does not depend on the number of threads. h agrees bit for bit between the CPU and a device;
//   y and dh differ by roundings, since the two sum a row in different orders.
// Workspace on a device: none, except one bit per element and module where the backward pass has to draw dropout masks.
// Source: transformers MistralRMSNorm.
#pragma once

#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// x, delta, h, y: [T, C], activation dtype (kBf16 or kF32); rows may be longer. weight [1, C], activation dtype. h may
// be x.
// Cost: x and delta read, h and y written, each [T, C] once.
void rms_norm(const OpContext& context, ConstTensorView x, std::optional<ConstTensorView> delta,
              std::optional<TensorView> h, ConstTensorView weight, float eps, TensorView y);

// dh = (gradient of y through the norm) + residual_gradient. fused_dy: its first C columns are the gradient of y; with
// `lora` the op adds the LoRA part. h [T, C] is the norm's input. residual_gradient and dh [T, C] may be the same
// memory.
// Cost: h, dy and residual_gradient read, dh written, each [T, C] once.
void rms_norm_backward(const OpContext& context, ConstTensorView h, ConstTensorView weight, float eps,
                       ConstTensorView fused_dy, std::optional<LoraInputGradient> lora,
                       std::optional<ConstTensorView> residual_gradient, TensorView dh);

}  // namespace shori
