// Attention on a device: libtorch's FlashAttention-2 on a GPU (kernels/cuda/attention_flash.cpp), the CPU version in the
// emulator. The operands are those of ops/attention.h, already checked; all are bf16 but lse, which is fp32.
#pragma once

#include "kernels/common/launch.h"
#include "shori/ops/attention.h"
#include "shori/ops/device_limits.h"

namespace shori {

SHORI_LAUNCHER void device_attention(const OpContext& context, const AttentionShape& shape, ConstTensorView qkv,
                                     const Int32Array& cu_seqlens, TensorView out, TensorView lse);

// The query heads of one call, with the key/value heads that they read. `adds`: dk and dv are added to those in dqkv, which a
// call before wrote for other heads of the same group.
struct HeadRange {
  std::int64_t first = 0, count = 0;
  bool adds = false;

  std::int64_t first_kv(const AttentionShape& shape) const { return first / (shape.heads / shape.kv_heads); }
  std::int64_t count_kv(const AttentionShape& shape) const {
    const std::int64_t kv = count / (shape.heads / shape.kv_heads);
    return kv > 0 ? kv : 1;
  }
};

// Writes the columns of these heads. Rows of `out` and `dout` [T, H * D] are contiguous; `dout` already includes its LoRA
// part.
SHORI_LAUNCHER void device_attention_backward(const OpContext& context, const AttentionShape& shape,
                                              const HeadRange& heads, ConstTensorView qkv, const Int32Array& cu_seqlens,
                                              ConstTensorView out, ConstTensorView lse, ConstTensorView dout,
                                              TensorView dqkv);

}  // namespace shori
