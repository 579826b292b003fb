// Causal grouped-query attention, block-diagonal by cu_seqlens. There is no dense mask over the pack and no unmasked
// fallback. Source: FlashAttention-2's varlen interface; softmax in fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

struct AttentionShape {
  std::int64_t heads = 0;     // H; query head h uses key/value head h / (H / Hkv)
  std::int64_t kv_heads = 0;  // Hkv
  std::int64_t head_dim = 0;  // D; scale is 1 / sqrt(D)
  std::int64_t window = 0;    // 0: none; else a token sees itself and the window - 1 tokens before it
};

// qkv [T, (H + 2 Hkv) * D], rotated, columns q heads, k heads, v heads. cu_seqlens [n + 1], from 0 to T. out [T, H * D]
// (longer rows allowed), lse [H, T] fp32 (log-sum-exp of the scaled scores). fp32 inside, one rounding of `out`.
// FLOP: 2 * H * D * l^2 for a sample of l tokens, the causal half; with a window w < l, w^2 + 2 (l - w) w for l^2.
void attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv, const Int32Array& cu_seqlens,
               TensorView out, TensorView lse);

// dqkv [T, (H + 2 Hkv) * D] (with respect to the rotated q, k). fused_dout: first H * D columns, plus the LoRA part
// of the o projection's input with `lora`. Sums over the heads of a group and over tokens run in a fixed order. 2.5
// times the FLOP of attention().
void attention_backward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                        const Int32Array& cu_seqlens, ConstTensorView out, ConstTensorView lse,
                        ConstTensorView fused_dout, std::optional<LoraInputGradient> lora, TensorView dqkv);

// Runs both on a small pack of this shape on the context's device and on the CPU: E0703 if they differ by more than
// rounding. For the start of a run: the device's version is a library's.
void check_device_attention(const OpContext& context, const AttentionShape& shape);

// Bytes that attention_backward takes from the workspace on a device: its output and the gradient of it, without gaps between rows.
std::size_t attention_backward_workspace_bytes(std::int64_t tokens, std::int64_t columns);

}  // namespace shori
