// The 16 NF4 levels, the thresholds between them, and the decode of one weight; values are those of bitsandbytes.
#pragma once

#include <bit>
#include <cstdint>

#include "shori/util/bf16.h"
#include "shori/util/math.h"

namespace shori {

inline constexpr int kNf4BlockSize = 64;   // weights that share one absmax
inline constexpr int kNf4GroupSize = 256;  // blocks whose absmax share one fp32 absmax2

// Blocks of `count` weights, and groups of these blocks.
SHORI_HD constexpr std::int64_t nf4_blocks(std::int64_t count) { return ceil_div<std::int64_t>(count, kNf4BlockSize); }
SHORI_HD constexpr std::int64_t nf4_groups(std::int64_t blocks) {
  return ceil_div<std::int64_t>(blocks, kNf4GroupSize);
}

SHORI_HD float nf4_level(unsigned code) {
  static constexpr std::uint32_t kLevelBits[16] = {
      0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
      0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000};
  return std::bit_cast<float>(kLevelBits[code & 15u]);
}

// Between level `code` and the next: their fp32 mean. A value equal to it takes the lower code. code 0..14.
SHORI_HD float nf4_threshold(unsigned code) { return (nf4_level(code) + nf4_level(code + 1)) * 0.5f; }

// Scale of one quantization block: two separately rounded operations, never an FMA.
SHORI_HD float nf4_scale(float mapped_absmax, float absmax2, float offset) {
  const float scaled = mapped_absmax * absmax2;
  return scaled + offset;
}

// One weight: one multiply, one rounding.
SHORI_HD Bf16 nf4_weight(unsigned code, float scale) { return to_bf16(nf4_level(code) * scale); }

}  // namespace shori
