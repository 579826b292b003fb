// Launcher of the LoRA part of ops/decode_linear.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

struct LoraUpLaunch {
  const Bf16* xa;  // [tokens, rank]
  const Bf16* b;   // [out, rank] B'
  Bf16* y;         // [tokens, out]: xA B'^T is added
  std::int64_t xa_stride, y_stride;
  int tokens, out, rank;
};
SHORI_LAUNCHER void launch_lora_up(const LoraUpLaunch& arguments, cudaStream_t stream);

}  // namespace shori
