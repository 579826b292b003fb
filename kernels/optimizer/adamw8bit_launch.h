// Launcher of ops/adamw8bit.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/optimizer/adamw8bit_math.h"

namespace shori {

inline constexpr std::int64_t kAdamPiece = 2048;  // elements that one thread block takes at a time

// One tensor. Arrays as in AdamTensor; parameter, gradient, m and v 16-byte aligned, codes and copies 8-byte.
struct AdamEntry {
  float* parameter;
  const float* gradient;
  std::uint8_t *m_codes, *v_codes;  // null: moments m, v
  float *m_absmax, *v_absmax;
  float *m, *v;
  Bf16* bf16_copy;  // null: none
  float* fp32_copy;
  float copy_scale;
  AdamFactors factors;
  std::int64_t count;
  std::int64_t first;  // number of its first piece
};

// Updates all tensors. block_size is 256 or 2048. *largest, zero before, becomes the bits of the largest |update| in
// its upper half, and below them 2^32 - 1 - position, position = piece * kAdamPiece + element: the first of equals.
SHORI_LAUNCHER void launch_adamw8bit(const AdamEntry* table, int entries, std::int64_t pieces, std::int64_t block_size,
                                     const float* signed_map, const float* unsigned_map, unsigned long long* largest,
                                     cudaStream_t stream);

}  // namespace shori
