// LoRA dropout masks in kernels. A mask is a function of its key alone (ops/linear_group.h), so any kernel can compute it:
// the same bits as drop_row() of the CPU versions. lora_down.cu draws masks for the forward pass. In the backward pass
// lora_grad.cu draws them and leaves them as bits, which input_gradient.cuh reads; dropout_mask.cu draws them where no
// gradient of A was computed before.
//
// A draw is 40 instructions for 8 columns. Its eight 16-bit numbers are compared two at a time, in the halves of a word.
#pragma once

#include <cstdint>

#include "shori/ops/device_limits.h"
#include "shori/ops/linear_group.h"
#include "shori/util/philox.h"

namespace shori {

// A DropoutKey as a kernel argument. The keys of Philox's rounds are the same for all draws of a launch, so the host
// computes them.
struct DropoutMask {
  std::uint32_t round_key[kPhiloxRounds][2] = {};
  std::uint32_t step = 0;
  std::uint32_t stream = 0;       // micro_batch << 16 | layer * 8, to which the module's index is added
  std::uint32_t first_token = 0;  // token of row 0
  std::uint32_t threshold = 0;    // in both halves; 0: nothing is dropped
  float scale = 1.0f;             // factor of kept elements

  DropoutMask() = default;
  explicit DropoutMask(const DropoutKey& key)
      : step(key.step),
        stream(key.micro_batch << 16 | key.layer * 8),
        first_token(key.first_token),
        threshold(key.threshold() * 0x10001u),
        scale(key.scale()) {
    for (std::uint32_t round = 0; round < kPhiloxRounds; ++round) {
      round_key[round][0] = philox_round_key(key.seed, round).word[0];
      round_key[round][1] = philox_round_key(key.seed, round).word[1];
    }
  }
};

// Of 8 neighbouring columns: bit 15 of word j says whether column 2j is kept, bit 31 whether column 2j + 1 is. The other
// bits mean nothing.
struct KeptColumns {
  std::uint32_t word[4];
};

inline constexpr std::uint32_t kSignsOfHalves = 0x80008000u;

// Signs of the halves of the result: whether the half of `draws` is at least that of `threshold`, both unsigned.
SHORI_HD std::uint32_t halves_at_least(std::uint32_t draws, std::uint32_t threshold) {
  // Whether the lower 15 bits are: the sign that is set before the subtraction absorbs the borrow.
  const std::uint32_t lower = (draws | kSignsOfHalves) - (threshold & ~kSignsOfHalves);
  return (draws & ~threshold) | (~(draws ^ threshold) & lower);
}

// Which of columns 8 * group .. 8 * group + 7 of row `row` module `module` keeps.
SHORI_HD KeptColumns kept_columns(const DropoutMask& mask, int module, std::uint32_t row, std::uint32_t group) {
  PhiloxWords draws{{group, mask.first_token + row, mask.step, mask.stream + static_cast<std::uint32_t>(module)}};
  for (const auto& key : mask.round_key) draws = philox_round(draws, key[0], key[1]);
  KeptColumns kept;
  for (int j = 0; j < 4; ++j) kept.word[j] = halves_at_least(draws.word[j], mask.threshold);
  return kept;
}

// The same as a byte, the form in which masks are stored: bit j for column 2j, bit 4 + j for column 2j + 1.
SHORI_HD std::uint8_t kept_byte(const KeptColumns& kept) {
  std::uint32_t signs = 0;
  for (const std::uint32_t word : kept.word) signs = signs >> 1 | (word & kSignsOfHalves);
  return static_cast<std::uint8_t>((signs >> 12 & 0x0fu) | (signs >> 24 & 0xf0u));
}
// The bit of column `column` of 8 in that byte.
SHORI_HD int bit_of_column(int column) { return column / 2 + column % 2 * 4; }

}  // namespace shori
