// Q8_0: 32 values as one f16 scale and 32 codes of 8 bits.
#pragma once

#include <cstddef>
#include <span>

namespace shori {

inline constexpr std::size_t kQ8Values = 32;  // of a block

// d = max|x| / 127, q = x * (1 / d) rounded half away from zero; f16 d | i8 q[32]. Whole blocks of finite values, whose
// scale f16 can hold.
void encode_q8_blocks(std::span<const float> values, std::byte* out);

// The same bytes by plain loops and by AVX2, for the function above and its test. The second one may be called only if
// has_q8_instructions().
void encode_q8_blocks_plain(std::span<const float> values, std::byte* out);
void encode_q8_blocks_avx2(std::span<const float> values, std::byte* out);
bool has_q8_instructions();

}  // namespace shori
