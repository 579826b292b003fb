// LoRA dropout masks in kernels. A mask is a function of its key alone (ops/linear_group.h), so every kernel that needs
// one computes it again: the same bits as drop_row() of the CPU versions. Dropout is applied in lora_down.cu (forward),
// lora_grad.cu (gradient of A) and input_gradient.cuh (gradient of the input).
#pragma once

#include <cstdint>

#include "shori/ops/device_limits.h"
#include "shori/ops/linear_group.h"
#include "shori/util/philox.h"

namespace shori {

// A DropoutKey as a kernel argument.
struct DropoutMask {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t stream = 0;       // micro_batch << 16 | layer * 8, to which the module's index is added
  std::uint32_t first_token = 0;  // token of row 0
  std::uint32_t threshold = 0;    // 0: nothing is dropped
  float scale = 1.0f;             // factor of kept elements

  DropoutMask() = default;
  explicit DropoutMask(const DropoutKey& key)
      : seed(key.seed),
        step(key.step),
        stream(key.micro_batch << 16 | key.layer * 8),
        first_token(key.first_token),
        threshold(key.threshold()),
        scale(key.scale()) {}
};

// Which of columns 8 * group .. 8 * group + 7 of row `row` module `module` keeps: bit i for column 8 * group + i. It
// costs one Philox call.
SHORI_HD unsigned kept_columns(const DropoutMask& mask, int module, std::uint32_t row, std::uint32_t group) {
  if (mask.threshold == 0) return 0xffu;
  const PhiloxWords draws = philox4x32(
      mask.seed, {{group, mask.first_token + row, mask.step, mask.stream + static_cast<std::uint32_t>(module)}});
  unsigned kept = 0;
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t draw = i % 2 == 0 ? draws.word[i / 2] & 0xffffu : draws.word[i / 2] >> 16;
    kept |= (draw >= mask.threshold ? 1u : 0u) << i;
  }
  return kept;
}

}  // namespace shori
