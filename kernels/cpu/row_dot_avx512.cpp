#ifndef __clang__
// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")
// The header of GCC 12 initializes what its intrinsics leave undefined with itself, and with O3 GCC warns of it.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/cpu/row_dot.h"

#ifdef __x86_64__
#include <immintrin.h>

#define SHORI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define SHORI_ROW_TARGET SHORI_AVX512
#include "kernels/cpu/row_loops.h"

namespace shori {

namespace {

struct Avx512 {
  using Float = __m512;
  static constexpr int kWidth = 16;

  SHORI_AVX512 SHORI_INLINE static Float load(const float* from) { return _mm512_loadu_ps(from); }
  SHORI_AVX512 SHORI_INLINE static Float load(const Bf16* from) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
  SHORI_AVX512 SHORI_INLINE static void store(Float value, float* to) { _mm512_storeu_ps(to, value); }
  SHORI_AVX512 SHORI_INLINE static Float broadcast(float value) { return _mm512_set1_ps(value); }
  SHORI_AVX512 SHORI_INLINE static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  SHORI_AVX512 SHORI_INLINE static float half_sum(const Float (&sum)[2]) {
    float lanes[kRowStep];
    store(sum[0], lanes);
    store(sum[1], lanes + kWidth);
    return shori::half_sum(lanes);
  }
};

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

SHORI_AVX512 void avx512_nf4(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first,
                             std::int64_t blocks, const RowInputs& inputs, float* sums) {
  dot_all_inputs<Avx512>(Avx512Nf4(codes, scales, first), blocks, inputs, sums);
}
template <typename Reader, typename T>
SHORI_AVX512 void avx512_dense(const T* row, std::int64_t steps, const RowInputs& inputs, float* sums) {
  dot_all_inputs<Avx512>(Reader{row}, steps, inputs, sums);
}

}  // namespace

const RowDot kAvx512RowDot = {avx512_nf4, avx512_dense<Avx512Bf16, Bf16>, avx512_dense<Avx512F32, float>,
                              add_all_rows<Avx512, Bf16>, add_all_rows<Avx512, float>};

}  // namespace shori
#endif
