// Attention on a device: libtorch's FlashAttention-2 on a GPU (kernels/cuda/attention_flash.cpp), the CPU version in the
// emulator. The operands are those of ops/attention.h, already checked; all are bf16 but lse, which is fp32.
#pragma once

#include "kernels/common/launch.h"
#include "shori/ops/attention.h"
#include "shori/ops/device_limits.h"

namespace shori {

SHORI_LAUNCHER void device_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                                     const Int32Array& cu_seqlens, TensorView out, TensorView lse);

// Rows of `out` and `dout` [T, H * D] are contiguous; `dout` already includes its LoRA part.
SHORI_LAUNCHER void device_attention_backward(const OpContext& context, const AttentionShape& shape,
                                              ConstTensorView qkv, const Int32Array& cu_seqlens, ConstTensorView out,
                                              ConstTensorView lse, ConstTensorView dout, TensorView dqkv);

}  // namespace shori
