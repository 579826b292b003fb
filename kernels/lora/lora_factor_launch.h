// Launcher of round_lora_factor, ops/lora_grad.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

// out[i] = round(scale * master[i]), `count` elements.
SHORI_LAUNCHER void launch_round_lora_factor(const float* master, float scale, Bf16* out, std::int64_t count,
                                             cudaStream_t stream);

}  // namespace shori
