// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_dot.h"

#ifdef __x86_64__
#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/row_product.h"

#define SHORI_AVX2 __attribute__((target("avx2,fma")))

namespace shori {

namespace {

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

SHORI_AVX2 SHORI_INLINE float half_sum_avx2(const __m256 (&sum)[4]) {
  const __m256 eight = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

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
  for (int i = 0; i < kInputs; ++i) sums[first + i] = half_sum_avx2(sum[i]);
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
  const float* x = inputs.packed;
  __m256 vectors[Reader::kVectors];
  __m256 lanes[kMaxRowInputs][4] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += 8 * Reader::kVectors) {
    reader.next(vectors);
    for (std::int64_t input = 0; input < inputs.count; ++input) {
      __m256 sum[4] = {lanes[input][0], lanes[input][1], lanes[input][2], lanes[input][3]};
      const float* from = x + input * inputs.stride;
      for (int v = 0; v < Reader::kVectors; ++v) {
        sum[v % 4] = _mm256_fmadd_ps(vectors[v], _mm256_loadu_ps(from + 8 * v), sum[v % 4]);
      }
      for (int v = 0; v < 4; ++v) lanes[input][v] = sum[v];
    }
  }
  for (std::int64_t input = 0; input < inputs.count; ++input) sums[input] = half_sum_avx2(lanes[input]);
}

SHORI_AVX2 void avx2_nf4(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first, std::int64_t blocks,
                         const RowInputs& inputs, float* sums) {
  dot_avx2(Avx2Nf4(codes, scales, first), blocks, inputs, sums);
}
template <typename Reader, typename T>
SHORI_AVX2 void avx2_dense(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums) {
  dot_avx2(Reader{row}, steps, inputs, sums);
}

SHORI_AVX2 SHORI_INLINE __m256 widened(const float* in) { return _mm256_loadu_ps(in); }
SHORI_AVX2 SHORI_INLINE __m256 widened(const Bf16* in) {
  const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
}

// kSums sums of kVectors vectors of columns stay in registers over all rows.
template <int kSums, int kVectors, typename T>
SHORI_AVX2 SHORI_INLINE void add_columns(const T* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                         std::int64_t stride, float* sums) {
  __m256 sum[kSums][kVectors];
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_loadu_ps(sums + i * cols + v * 8);
  }
  for (std::int64_t row = 0; row < count; ++row, rows += cols) {
    __m256 value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = widened(rows + v * 8);
    for (int i = 0; i < kSums; ++i) {
      const __m256 weight = _mm256_set1_ps(weights[i * stride + row]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(weight, value[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(sums + i * cols + v * 8, sum[i][v]);
  }
}
template <int kSums, typename T>
SHORI_AVX2 SHORI_INLINE void add_rows(const T* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                      std::int64_t stride, float* sums) {
  constexpr int kVectors = 8 / kSums;
  std::int64_t col = 0;
  for (; col + kVectors * 8 <= cols; col += kVectors * 8) {
    add_columns<kSums, kVectors>(rows + col, cols, count, weights, stride, sums + col);
  }
  for (; col + 8 <= cols; col += 8) {
    add_columns<kSums, 1>(rows + col, cols, count, weights, stride, sums + col);
  }
  for (; col < cols; ++col) {
    for (int i = 0; i < kSums; ++i) {
      float& sum = sums[i * cols + col];
      for (std::int64_t row = 0; row < count; ++row) {
        sum = std::fma(weights[i * stride + row], as_float(rows[row * cols + col]), sum);
      }
    }
  }
}
template <typename T>
SHORI_AVX2 void avx2_add(const T* rows, std::int64_t cols, std::int64_t count, const RowWeights& weights, float* sums) {
  std::int64_t i = 0;
  const auto* from = weights.weights;
  for (; i + 4 <= weights.count; i += 4)
    add_rows<4>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  for (; i + 2 <= weights.count; i += 2)
    add_rows<2>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  if (i < weights.count) add_rows<1>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
}

}  // namespace

const RowDot kAvx2RowDot = {avx2_nf4, avx2_dense<Avx2Bf16, Bf16>, avx2_dense<Avx2F32, float>, avx2_add<Bf16>,
                            avx2_add<float>};

}  // namespace shori
#endif
