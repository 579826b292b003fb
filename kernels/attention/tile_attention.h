// Attention by tile products (kernels/cpu/product.h), with checked operands. e^(score - maximum), the gradient of the scores
// and the gradient of the output are rounded to bf16 before they are multiplied, as FlashAttention does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "shori/ops/attention.h"

namespace shori {

void tile_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                    std::span<const std::int32_t> cu_seqlens, TensorView out, TensorView lse);

void tile_attention_backward(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                             std::span<const std::int32_t> cu_seqlens, ConstTensorView out, ConstTensorView lse,
                             ConstTensorView fused_dout, const std::optional<LoraInputGradient>& lora, TensorView dqkv);

}  // namespace shori
