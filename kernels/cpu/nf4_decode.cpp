// O3 unrolls the loops over a block; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/nf4_decode.h"

#include <algorithm>

#include "kernels/cpu/nf4_block.h"
#include "shori/quant/dynamic_map.h"

#ifdef __x86_64__
#include <immintrin.h>
#define SHORI_AVX2 __attribute__((target("avx2")))
#define SHORI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#endif

namespace shori {

namespace {

// Blocks [first, last) of the weight.
template <typename Out>
void decode_blocks_plain(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first, std::int64_t last,
                         Out* out) {
  for (std::int64_t block = first; block < last; ++block, out += kNf4BlockSize) {
    decode_block_plain(codes + block * (kNf4BlockSize / 2), scales.of(block), out);
  }
}

#ifdef __x86_64__
SHORI_AVX2 inline __m256 rounded_to_bf16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256 rounded = _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff0000));
  return _mm256_blendv_ps(rounded, nan, _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
}

// The 8 weights of 4 bytes. Codes 0-7 are looked up in `low`, 8-15 in `high`: the permutation reads the lower three bits
// of a lane, the fourth chooses between them.
SHORI_AVX2 inline __m256 eight_weights(std::uint32_t bytes, __m256 low, __m256 high) {
  const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
  const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(bytes)), shifts);
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes), _mm256_permutevar8x32_ps(high, codes),
                          _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}

SHORI_AVX2 void decode_blocks_avx2(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first,
                                   std::int64_t last, float* out) {
  float levels[16];
  for (unsigned code = 0; code < 16; ++code) levels[code] = nf4_level(code);
  const __m256 low_levels = _mm256_loadu_ps(levels), high_levels = _mm256_loadu_ps(levels + 8);
  codes += first * (kNf4BlockSize / 2);
  for (std::int64_t block = first; block < last; ++block) {
    const __m256 scale = _mm256_set1_ps(scales.of(block));
    const __m256 low = rounded_to_bf16(_mm256_mul_ps(low_levels, scale));
    const __m256 high = rounded_to_bf16(_mm256_mul_ps(high_levels, scale));
    for (int chunk = 0; chunk < kNf4BlockSize / 8; ++chunk, codes += 4, out += 8) {
      std::uint32_t bytes;
      std::memcpy(&bytes, codes, sizeof(bytes));
      _mm256_storeu_ps(out, eight_weights(bytes, low, high));
    }
  }
}

template <typename Out>
SHORI_AVX512 void decode_blocks_avx512(const std::uint8_t* codes, const BlockScales& scales, std::int64_t first,
                                       std::int64_t last, Out* out) {
  for (std::int64_t block = first; block < last; ++block, out += kNf4BlockSize) {
    decode_block_512(codes + block * (kNf4BlockSize / 2), scales.of(block), out);
  }
}
#endif

template <typename Out>
void decode_blocks(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t last, Out* out) {
  const BlockScales scales{dynamic_map_signed(), weight};
#ifdef __x86_64__
  if (isa > cpu_support().best) isa = cpu_support().best;
  if (isa >= CpuIsa::kAvx512) return decode_blocks_avx512(weight.codes, scales, first, last, out);
  if constexpr (sizeof(Out) == sizeof(float)) {
    if (isa == CpuIsa::kAvx2) return decode_blocks_avx2(weight.codes, scales, first, last, out);
  }
#else
  (void)isa;
#endif
  decode_blocks_plain(weight.codes, scales, first, last, out);
}

void store(Bf16 value, float& out) { out = to_float(value); }
void store(Bf16 value, Bf16& out) { out = value; }

// Quantization blocks run over the flattened weight, so a run may begin and end inside one.
template <typename Out>
void decode_run(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t count, Out* out) {
  const std::int64_t last = first + count;
  const auto decode_single = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t element = begin; element < end; ++element) {
      const unsigned byte = weight.codes[element / 2];
      const float scale = nf4_block_scale(weight, element / kNf4BlockSize);
      store(nf4_weight(element % 2 == 0 ? byte >> 4 : byte & 15u, scale), out[element - first]);
    }
  };
  const std::int64_t whole = std::min(last, round_up<std::int64_t>(first, kNf4BlockSize));
  const std::int64_t end = std::max(whole, last / kNf4BlockSize * kNf4BlockSize);
  decode_single(first, whole);
  decode_blocks(isa, weight, whole / kNf4BlockSize, end / kNf4BlockSize, out + (whole - first));
  decode_single(end, last);
}

}  // namespace

void decode_nf4(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t count, float* out) {
  decode_run(isa, weight, first, count, out);
}
void decode_nf4(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t count, Bf16* out) {
  decode_run(isa, weight, first, count, out);
}

}  // namespace shori
