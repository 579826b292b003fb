// Causal grouped-query attention over a pack of samples. Each sample attends to itself only.
//
//   out = softmax(q k^T / sqrt(D), causal, within a sample and its window) v
//
// Rounding: fp32 inside on the CPU, `out` and dqkv are rounded once. With the tile products of AMX, e^(score - maximum),
//   the gradient of the scores and dout are rounded to bf16 before they are multiplied. The device version is a library's: it rounds the
//   probabilities to bf16 before they are multiplied, so check_device_attention() compares the two at the start of a run.
// Deterministic: sums over keys, over tokens and over the query heads of a group run in a fixed order.
// Memory: no score matrix over the pack exists. The CPU holds the scores of 128 queries per worker.
// Source: FlashAttention-2's varlen interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

struct AttentionShape {
  std::int64_t heads = 0;     // H; query head h reads key/value head h / (H / Hkv)
  std::int64_t kv_heads = 0;  // Hkv
  std::int64_t head_dim = 0;  // D
  std::int64_t window = 0;    // a token sees itself and the window - 1 tokens before it; 0: all tokens before it
};

// qkv [T, (H + 2 Hkv) * D]: q heads, k heads (both rotated), v heads. cu_seqlens [n + 1]: starts of the samples, from 0
// to T. out [T, H * D], rows may be longer. lse [H, T] fp32: log-sum-exp of the scaled scores.
// Cost: 2 * H * D * l^2 FLOP for a sample of l tokens (the causal half); with a window w < l, l^2 becomes
// w^2 + 2 (l - w) w.
void attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv, const Int32Array& cu_seqlens,
               TensorView out, TensorView lse);

// dqkv [T, (H + 2 Hkv) * D]: gradient of the rotated q and k, and of v. fused_dout: the first H * D columns are the
// gradient of `out`; with `lora` the op adds the LoRA part of the o projection's input gradient.
// Cost: 2.5 times the FLOP of attention(). Workspace on a device: attention_backward_workspace_bytes().
void attention_backward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                        const Int32Array& cu_seqlens, ConstTensorView out, ConstTensorView lse,
                        ConstTensorView fused_dout, std::optional<LoraInputGradient> lora, TensorView dqkv);

// The query heads that one call of a device's backward kernel takes, a divisor of `heads`: fewer than all where these would
// leave multiprocessors idle. It depends on these arguments alone, so that a run repeats to the bit and the memory plan
// knows it. `samples`: of the pack, padding included.
std::int64_t attention_backward_heads(const AttentionShape& shape, std::int64_t tokens, std::int64_t samples,
                                      int sm_count);

// Runs both ops on a small pack of this shape, on the context's device and on the CPU, without a window and with one that is
// shorter than a sample if the shape has one. Throws E0703 if they differ by more than rounding.
void check_device_attention(const OpContext& context, const AttentionShape& shape);

// The library reads `out` and its gradient without gaps between rows; this is room for both copies. `columns`: H * D.
std::size_t attention_backward_workspace_bytes(std::int64_t tokens, std::int64_t columns);

}  // namespace shori
