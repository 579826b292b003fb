// RMSNorm with the residual add in front. Source: transformers MistralRMSNorm.
//
//   h = x + delta                                   rounded once to the activation dtype (h = x without delta)
//   y = weight * round(h32 * rsqrt(mean(h32^2) + eps))     fp32 inside, rounded before and after the weight
// Sums run in a fixed order per row, independent of the number of threads. Bytes: x and delta read, h and y written,
// each [T, C] once.
#pragma once

#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

// x, delta, h, y: [T, C], activation dtype (kBf16 or kF32); y may have longer rows. weight: [1, C], activation dtype. h
// may be x.
void rms_norm(const OpContext& context, ConstTensorView x, std::optional<ConstTensorView> delta,
              std::optional<TensorView> h, ConstTensorView weight, float eps, TensorView y);

// dh = (gradient of y through the norm) + residual_gradient, where the gradient of y is fused_dy's first C columns
// plus, with `lora`, its LoRA part. h is the norm's input [T, C]; residual_gradient and dh [T, C] may be the same
// memory. fp32 inside, one rounding. Bytes: h, dy, residual_gradient read and dh written, each [T, C] once.
void rms_norm_backward(const OpContext& context, ConstTensorView h, ConstTensorView weight, float eps,
                       ConstTensorView fused_dy, std::optional<LoraInputGradient> lora,
                       std::optional<ConstTensorView> residual_gradient, TensorView dh);

}  // namespace shori
