#include "src/export/gguf/q8_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "shori/io/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shori {
namespace {

constexpr std::size_t kBytes = 2 + kQ8Values;

// What x is multiplied with. Where the reciprocal overflows, the scale is 0 in f16 as well, and so are the codes.
float inverse_of(float scale) {
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

void write_scale(float scale, std::byte* out) {
  const std::uint16_t bits = float_to_half(scale);
  std::memcpy(out, &bits, sizeof bits);
}

// In double the sum is exact, so that a value just under one half is not rounded up.
std::int8_t round_half_away(float value) {
  return static_cast<std::int8_t>(static_cast<int>(static_cast<double>(value) + std::copysign(0.5, value)));
}

}  // namespace

void encode_q8_blocks_plain(std::span<const float> values, std::byte* out) {
  for (std::size_t i = 0; i < values.size(); i += kQ8Values, out += kBytes) {
    const std::span<const float> block = values.subspan(i, kQ8Values);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::fabs(value));
    const float scale = largest / 127.0f, inverse = inverse_of(scale);
    std::int8_t codes[kQ8Values];
    std::ranges::transform(block, codes, [&](float value) { return round_half_away(value * inverse); });
    write_scale(scale, out);
    std::memcpy(out + 2, codes, sizeof codes);
  }
}

#if defined(__x86_64__)

namespace {

// Without its fraction, which is exact in fp32, a value is rounded away from zero if that is one half or more.
__attribute__((target("avx2"))) inline __m256i rounded_half_away(__m256 value) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 whole = _mm256_round_ps(value, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
  const __m256 fraction = _mm256_andnot_ps(sign, _mm256_sub_ps(value, whole));
  const __m256 is_half = _mm256_cmp_ps(fraction, _mm256_set1_ps(0.5f), _CMP_GE_OQ);
  const __m256 one = _mm256_or_ps(_mm256_and_ps(value, sign), _mm256_set1_ps(1.0f));
  return _mm256_cvttps_epi32(_mm256_add_ps(whole, _mm256_and_ps(is_half, one)));
}

__attribute__((target("avx2"))) inline float largest_of(__m256 magnitudes) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(magnitudes), _mm256_extractf128_ps(magnitudes, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

}  // namespace

bool has_q8_instructions() { return __builtin_cpu_supports("avx2"); }

__attribute__((target("avx2"))) void encode_q8_blocks_avx2(std::span<const float> values, std::byte* out) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing goes by halves of a register
  for (std::size_t i = 0; i < values.size(); i += kQ8Values, out += kBytes) {
    __m256 x[4];
#pragma GCC unroll 4  // keeps the block in registers
    for (int k = 0; k < 4; ++k) x[k] = _mm256_loadu_ps(values.data() + i + 8 * k);
    const __m256 upper = _mm256_max_ps(_mm256_andnot_ps(sign, x[0]), _mm256_andnot_ps(sign, x[1]));
    const __m256 lower = _mm256_max_ps(_mm256_andnot_ps(sign, x[2]), _mm256_andnot_ps(sign, x[3]));
    const float scale = largest_of(_mm256_max_ps(upper, lower)) / 127.0f;
    const __m256 inverse = _mm256_set1_ps(inverse_of(scale));
    __m256i codes[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) codes[k] = rounded_half_away(_mm256_mul_ps(x[k], inverse));
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]), _mm256_packs_epi32(codes[2], codes[3]));
    write_scale(scale, out);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2), _mm256_permutevar8x32_epi32(bytes, order));
  }
}

#else

bool has_q8_instructions() { return false; }

void encode_q8_blocks_avx2(std::span<const float> values, std::byte* out) { encode_q8_blocks_plain(values, out); }

#endif

void encode_q8_blocks(std::span<const float> values, std::byte* out) {
  static const auto encode = has_q8_instructions() ? encode_q8_blocks_avx2 : encode_q8_blocks_plain;
  encode(values, out);
}

}  // namespace shori
