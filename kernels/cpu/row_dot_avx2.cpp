// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_dot.h"

#ifdef __x86_64__
#include <immintrin.h>

#define SHORI_AVX2 __attribute__((target("avx2,fma")))
#define SHORI_ROW_TARGET SHORI_AVX2
#include "kernels/cpu/row_loops.h"

namespace shori {

namespace {

struct Avx2 {
  using Float = __m256;
  static constexpr int kWidth = 8;

  SHORI_AVX2 SHORI_INLINE static Float load(const float* from) { return _mm256_loadu_ps(from); }
  SHORI_AVX2 SHORI_INLINE static Float load(const Bf16* from) {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
  SHORI_AVX2 SHORI_INLINE static void store(Float value, float* to) { _mm256_storeu_ps(to, value); }
  SHORI_AVX2 SHORI_INLINE static Float broadcast(float value) { return _mm256_set1_ps(value); }
  SHORI_AVX2 SHORI_INLINE static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  SHORI_AVX2 SHORI_INLINE static float half_sum(const Float (&sum)[4]) {
    const __m256 eight = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
};

// The 16 values of a block as two tables of bytes, each twice: byte look-ups give the halves of bf16 values.
struct ByteTables {
  __m256i low, high;
};
// Values of `even` and `odd` in turn, rounded to bf16, ties to even. The upper half of a value grows by one where its lower
// half is above 0x8000, or is 0x8000 while the upper half is odd.
SHORI_AVX2 SHORI_INLINE __m256i rounded_words(__m256 even, __m256 odd) {
  const __m256i first = _mm256_castps_si256(even), second = _mm256_castps_si256(odd);
  const __m256i upper = _mm256_blend_epi16(_mm256_srli_epi32(first, 16), second, 0xaa);
  const __m256i lower = _mm256_blend_epi16(first, _mm256_slli_epi32(second, 16), 0xaa);
  const __m256i is_even = _mm256_andnot_si256(upper, _mm256_set1_epi16(1));
  return _mm256_add_epi16(upper, _mm256_srli_epi16(_mm256_subs_epu16(lower, is_even), 15));
}

struct Avx2Nf4 {
  static constexpr int kVectors = 8;
  const std::uint8_t* codes;
  BlockScales scales;
  std::int64_t block;
  __m256 first_levels, second_levels;  // 0-3 and 8-11, 4-7 and 12-15

  SHORI_AVX2 SHORI_INLINE Avx2Nf4(const std::uint8_t* all_codes, const BlockScales& all_scales, std::int64_t first)
      : codes(all_codes + first * (kNf4BlockSize / 2)), scales(all_scales), block(first) {
    float levels[16];
    for (unsigned code = 0; code < 16; ++code) levels[code] = nf4_level(code);
    first_levels = _mm256_set_m128(_mm_loadu_ps(levels + 8), _mm_loadu_ps(levels));
    second_levels = _mm256_set_m128(_mm_loadu_ps(levels + 12), _mm_loadu_ps(levels + 4));
  }

  SHORI_AVX2 SHORI_INLINE ByteTables tables(float block_scale) const {
    const __m256 scale = _mm256_set1_ps(block_scale);
    const __m256i words = rounded_words(_mm256_mul_ps(first_levels, scale), _mm256_mul_ps(second_levels, scale));
    const __m256i split = _mm256_setr_epi8(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15, 0, 4, 8, 12, 2, 6, 10,
                                           14, 1, 5, 9, 13, 3, 7, 11, 15);
    const __m256i bytes = _mm256_shuffle_epi8(words, split);
    return {_mm256_permute4x64_epi64(bytes, 0x88), _mm256_permute4x64_epi64(bytes, 0xdd)};
  }

  SHORI_AVX2 SHORI_INLINE void next(__m256 (&out)[kVectors]) {
    const ByteTables table = tables(scales.of(block++));
    _mm_prefetch(reinterpret_cast<const char*>(codes + 1024), _MM_HINT_T0);
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    codes += kNf4BlockSize / 2;
    const __m256i mask = _mm256_set1_epi8(15), upper_half = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    const __m256i nibbles[2] = {_mm256_and_si256(_mm256_srli_epi16(pairs, 4), mask), _mm256_and_si256(pairs, mask)};
    for (int k = 0; k < 2; ++k) {
      const __m256i low = _mm256_shuffle_epi8(table.low, nibbles[k]),
                    high = _mm256_shuffle_epi8(table.high, nibbles[k]);
      const __m256i words[2] = {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
      for (int half = 0; half < 2; ++half) {
        out[2 * k + half] = _mm256_castsi256_ps(_mm256_slli_epi32(words[half], 16));
        out[2 * (k + 2) + half] = _mm256_castsi256_ps(_mm256_and_si256(words[half], upper_half));
      }
    }
  }
};
struct Avx2Bf16 {
  static constexpr int kVectors = 4;
  const Bf16* row;

  SHORI_AVX2 SHORI_INLINE void next(__m256 (&out)[kVectors]) {
    _mm_prefetch(reinterpret_cast<const char*>(row + 1024), _MM_HINT_T0);
    const __m256i upper_half = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    for (int half = 0; half < 2; ++half) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 16 * half));
      out[half] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
      out[2 + half] = _mm256_castsi256_ps(_mm256_and_si256(words, upper_half));
    }
    row += kRowStep;
  }
};
struct Avx2F32 {
  static constexpr int kVectors = 4;
  const float* row;

  SHORI_AVX2 SHORI_INLINE void next(__m256 (&out)[kVectors]) {
    for (int v = 0; v < kVectors; ++v) out[v] = _mm256_loadu_ps(row + 8 * v);
    row += kRowStep;
  }
};

// The sums of kInputs inputs stay in registers over the whole row.
template <int kInputs, typename Reader>
SHORI_AVX2 SHORI_INLINE void dot_inputs(Reader reader, std::int64_t steps, const RowInputs& inputs, std::int64_t first,
                                        float* sums) {
  const float* x = inputs.packed + first * inputs.stride;
  __m256 vectors[Reader::kVectors];
  __m256 sum[kInputs][4] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += 8 * Reader::kVectors) {
    reader.next(vectors);
    for (int i = 0; i < kInputs; ++i) {
      for (int v = 0; v < Reader::kVectors; ++v) {
        sum[i][v % 4] = _mm256_fmadd_ps(vectors[v], _mm256_loadu_ps(x + i * inputs.stride + 8 * v), sum[i][v % 4]);
      }
    }
  }
  for (int i = 0; i < kInputs; ++i) sums[first + i] = Avx2::half_sum(sum[i]);
}

// Reading a dense row again costs less than sums in memory. Blocks are decoded once for all inputs.
template <typename Reader>
SHORI_AVX2 SHORI_INLINE void dot_avx2(Reader reader, std::int64_t steps, const RowInputs& inputs, float* sums) {
  if (Reader::kVectors == 4 || inputs.count == 1) {
    std::int64_t first = 0;
    for (; first + 2 <= inputs.count; first += 2) dot_inputs<2>(reader, steps, inputs, first, sums);
    if (first < inputs.count) dot_inputs<1>(reader, steps, inputs, first, sums);
    return;
  }
  dot_all_inputs<Avx2>(reader, steps, inputs, sums);
}

SHORI_AVX2 void avx2_nf4(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first, std::int64_t blocks,
                         const RowInputs& inputs, float* sums) {
  dot_avx2(Avx2Nf4(codes, scales, first), blocks, inputs, sums);
}
template <typename Reader, typename T>
SHORI_AVX2 void avx2_dense(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums) {
  dot_avx2(Reader{row}, steps, inputs, sums);
}

}  // namespace

const RowDot kAvx2RowDot = {avx2_nf4, avx2_dense<Avx2Bf16, Bf16>, avx2_dense<Avx2F32, float>, add_all_rows<Avx2, Bf16>,
                            add_all_rows<Avx2, float>};

}  // namespace shori
#endif
