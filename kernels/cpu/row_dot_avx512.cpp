// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_dot.h"

#ifdef __x86_64__
#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/row_product.h"

#define SHORI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace shori {

namespace {

struct Avx512Nf4 {
  static constexpr int kVectors = 4;
  const std::uint8_t* codes;
  BlockScales scales;
  std::int64_t block;

  SHORI_AVX512 SHORI_INLINE Avx512Nf4(const std::uint8_t* all_codes, const BlockScales& all_scales, std::int64_t first)
      : codes(all_codes + first * (kNf4BlockSize / 2)), scales(all_scales), block(first) {}

  SHORI_AVX512 SHORI_INLINE void next(__m512 (&out)[kVectors]) {
    const UnsignedLanes values = block_values(scales.of(block++)) << 16;
    const __m512 table = (__m512)values;
    _mm_prefetch(reinterpret_cast<const char*>(codes + 1024), _MM_HINT_T0);
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    codes += kNf4BlockSize / 2;
    const __m512i words = _mm512_cvtepu16_epi32(_mm256_permute4x64_epi64(pairs, 0xd8));  // the order of row_word()
    out[0] = _mm512_permutexvar_ps(_mm512_srli_epi32(words, 4), table);
    out[1] = _mm512_permutexvar_ps(words, table);
    out[2] = _mm512_permutexvar_ps(_mm512_srli_epi32(words, 12), table);
    out[3] = _mm512_permutexvar_ps(_mm512_srli_epi32(words, 8), table);
  }
};
struct Avx512Bf16 {
  static constexpr int kVectors = 2;
  const Bf16* row;

  SHORI_AVX512 SHORI_INLINE void next(__m512 (&out)[kVectors]) {
    _mm_prefetch(reinterpret_cast<const char*>(row + 1024), _MM_HINT_T0);
    const __m512i words = _mm512_loadu_si512(row);
    row += kRowStep;
    out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    out[1] = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
};
struct Avx512F32 {
  static constexpr int kVectors = 2;
  const float* row;

  SHORI_AVX512 SHORI_INLINE void next(__m512 (&out)[kVectors]) {
    out[0] = _mm512_loadu_ps(row);
    out[1] = _mm512_loadu_ps(row + 16);
    row += kRowStep;
  }
};

template <typename Reader>
SHORI_AVX512 SHORI_INLINE void dot_avx512(Reader reader, std::int64_t steps, const RowInputs& inputs, float* sums) {
  const float* x = inputs.packed;
  __m512 vectors[Reader::kVectors];
  __m512 lanes[kMaxRowInputs][2] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += 16 * Reader::kVectors) {
    reader.next(vectors);
    for (std::int64_t input = 0; input < inputs.count; ++input) {
      __m512 sum[2] = {lanes[input][0], lanes[input][1]};
      const float* from = x + input * inputs.stride;
      for (int v = 0; v < Reader::kVectors; ++v) {
        sum[v % 2] = _mm512_fmadd_ps(vectors[v], _mm512_loadu_ps(from + 16 * v), sum[v % 2]);
      }
      for (int v = 0; v < 2; ++v) lanes[input][v] = sum[v];
    }
  }
  for (std::int64_t input = 0; input < inputs.count; ++input) {
    float stored[kRowStep];
    _mm512_storeu_ps(stored, lanes[input][0]);
    _mm512_storeu_ps(stored + 16, lanes[input][1]);
    sums[input] = half_sum(stored);
  }
}

SHORI_AVX512 void avx512_nf4(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first,
                             std::int64_t blocks, const RowInputs& inputs, float* sums) {
  dot_avx512(Avx512Nf4(codes, scales, first), blocks, inputs, sums);
}
template <typename Reader, typename T>
SHORI_AVX512 void avx512_dense(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums) {
  dot_avx512(Reader{row}, steps, inputs, sums);
}

SHORI_AVX512 SHORI_INLINE __m512 widened(const float* in) { return _mm512_loadu_ps(in); }
SHORI_AVX512 SHORI_INLINE __m512 widened(const Bf16* in) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

// kSums sums of kVectors vectors of columns stay in registers over all rows.
template <int kSums, int kVectors, typename T>
SHORI_AVX512 SHORI_INLINE void add_columns(const T* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                           std::int64_t stride, float* sums) {
  __m512 sum[kSums][kVectors];
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_loadu_ps(sums + i * cols + v * 16);
  }
  for (std::int64_t row = 0; row < count; ++row, rows += cols) {
    __m512 value[kVectors];
    for (int v = 0; v < kVectors; ++v) value[v] = widened(rows + v * 16);
    for (int i = 0; i < kSums; ++i) {
      const __m512 weight = _mm512_set1_ps(weights[i * stride + row]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm512_fmadd_ps(weight, value[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kSums; ++i) {
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sums + i * cols + v * 16, sum[i][v]);
  }
}
template <int kSums, typename T>
SHORI_AVX512 SHORI_INLINE void add_rows(const T* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                        std::int64_t stride, float* sums) {
  constexpr int kVectors = 8 / kSums;
  std::int64_t col = 0;
  for (; col + kVectors * 16 <= cols; col += kVectors * 16) {
    add_columns<kSums, kVectors>(rows + col, cols, count, weights, stride, sums + col);
  }
  for (; col + 16 <= cols; col += 16) {
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
SHORI_AVX512 void avx512_add(const T* rows, std::int64_t cols, std::int64_t count, const RowWeights& weights,
                             float* sums) {
  std::int64_t i = 0;
  const auto* from = weights.weights;
  for (; i + 4 <= weights.count; i += 4)
    add_rows<4>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  for (; i + 2 <= weights.count; i += 2)
    add_rows<2>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
  if (i < weights.count) add_rows<1>(rows, cols, count, from + i * weights.stride, weights.stride, sums + i * cols);
}

}  // namespace

const RowDot kAvx512RowDot = {avx512_nf4, avx512_dense<Avx512Bf16, Bf16>, avx512_dense<Avx512F32, float>,
                              avx512_add<Bf16>, avx512_add<float>};

}  // namespace shori
#endif
