// Launcher of ops/adamw8bit.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/optimizer/adamw8bit_math.h"

namespace shori {

inline constexpr std::int64_t kAdamChunk = 2048;  // elements that one thread block updates at a time

// One tensor. The arrays are those of AdamTensor; parameter, gradient, m and v are 16-byte aligned, codes and copies 8-byte.
struct AdamEntry {
  float* parameter;
  const float* gradient;
  std::uint8_t *m_codes, *v_codes;  // null: the moments are m and v
  float *m_absmax, *v_absmax;
  float *m, *v;
  Bf16* bf16_copy;   // null: there is no such copy
  float* fp32_copy;  // null: there is no such copy
  float copy_scale;
  AdamFactors factors;
  std::int64_t count;
  std::int64_t first;  // number of its first chunk
};

// Updates all tensors. block_size is 256 or 2048. *largest is zero before; afterwards its upper half holds the bits of the
// largest |update| and its lower half 2^32 - 1 - position, with position = chunk * kAdamChunk + element in the chunk. The
// maximum of such keys is thus the first of equal updates.
SHORI_LAUNCHER void launch_adamw8bit(const AdamEntry* table, int entries, std::int64_t chunks, std::int64_t block_size,
                                     const float* signed_map, const float* unsigned_map, unsigned long long* largest,
                                     cudaStream_t stream);

}  // namespace shori
