// The dropout mask of a row (linear_group.h): Philox4x32-10, eight 16-bit draws a counter. A round is two products of 32
// bits to 64, one of which each 64-bit lane computes.
#include <cstring>

#include "kernels/cpu/rows.h"
#include "shori/ops/cpu_isa.h"
#include "shori/util/philox.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace shori {

namespace {

constexpr std::int64_t kColumnsOfCounter = 8;

// What the counters of a row share: {column / 8, token, step, stream}.
struct RowKey {
  std::uint64_t seed;
  std::uint32_t token, step, stream, threshold;
};

// Columns from the first of counter `group` on.
template <typename Value>
void drop_columns_plain(const RowKey& key, std::uint32_t group, std::int64_t count, Value* values) {
  for (std::int64_t first = 0; first < count; first += kColumnsOfCounter, ++group) {
    const PhiloxWords words = philox4x32(key.seed, {{group, key.token, key.step, key.stream}});
    std::uint16_t draws[kColumnsOfCounter];
    std::memcpy(draws, words.word, sizeof(draws));
    const std::int64_t columns = count - first < kColumnsOfCounter ? count - first : kColumnsOfCounter;
    for (std::int64_t i = 0; i < columns; ++i) {
      if (draws[i] < key.threshold) values[first + i] = Value{};
    }
  }
}

#ifdef __x86_64__
#define SHORI_AVX2 __attribute__((target("avx2")))

// Word i of four counters, in the lower halves of the lanes of word[i]. The upper halves hold anything.
struct FourCounters {
  __m256i word[4];
};

SHORI_AVX2 inline void philox_round(FourCounters& counters, std::uint32_t key0, std::uint32_t key1) {
  auto& [c0, c1, c2, c3] = counters.word;
  const __m256i product0 = _mm256_mul_epu32(c0, _mm256_set1_epi64x(0xD2511F53));
  const __m256i product1 = _mm256_mul_epu32(c2, _mm256_set1_epi64x(0xCD9E8D57));
  c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1), _mm256_set1_epi64x(key0));
  c1 = product1;
  c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3), _mm256_set1_epi64x(key1));
  c3 = product0;
}

// The eight columns of a counter, with zeros where keep is zero.
SHORI_AVX2 inline void keep_columns(__m128i keep, float* values) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_cvtepi16_epi32(keep));
  _mm256_storeu_ps(values, _mm256_and_ps(_mm256_loadu_ps(values), mask));
}
SHORI_AVX2 inline void keep_columns(__m128i keep, Bf16* values) {
  auto* columns = reinterpret_cast<__m128i*>(values);
  _mm_storeu_si128(columns, _mm_and_si128(_mm_loadu_si128(columns), keep));
}

// Zeroes what the draws of four counters drop in their 32 columns.
template <typename Value>
SHORI_AVX2 inline void drop_32_columns(const FourCounters& counters, __m256i threshold, Value* values) {
  const auto& [c0, c1, c2, c3] = counters.word;
  constexpr int kOddWords = 0xaa;
  const __m256i lower = _mm256_blend_epi32(c0, _mm256_slli_epi64(c1, 32), kOddWords);  // draws 0..3 of each counter
  const __m256i upper = _mm256_blend_epi32(c2, _mm256_slli_epi64(c3, 32), kOddWords);
  const __m256i even = _mm256_unpacklo_epi64(lower, upper), odd = _mm256_unpackhi_epi64(lower, upper);
  const __m256i keep_even = _mm256_cmpeq_epi16(_mm256_max_epu16(even, threshold), even);
  const __m256i keep_odd = _mm256_cmpeq_epi16(_mm256_max_epu16(odd, threshold), odd);
  keep_columns(_mm256_castsi256_si128(keep_even), values);
  keep_columns(_mm256_castsi256_si128(keep_odd), values + 8);
  keep_columns(_mm256_extracti128_si256(keep_even, 1), values + 16);
  keep_columns(_mm256_extracti128_si256(keep_odd, 1), values + 24);
}

// A multiple of 64 columns: eight counters at a time, because a round waits for its product.
template <typename Value>
SHORI_AVX2 void drop_columns_avx2(const RowKey& key, std::uint32_t group, std::int64_t count, Value* values) {
  const __m256i threshold = _mm256_set1_epi16(static_cast<short>(key.threshold));
  const __m256i token = _mm256_set1_epi64x(key.token), step = _mm256_set1_epi64x(key.step);
  const __m256i stream = _mm256_set1_epi64x(key.stream);
  for (std::int64_t first = 0; first < count; first += 64, group += 8) {
    const __m256i counter = _mm256_add_epi64(_mm256_set1_epi64x(group), _mm256_setr_epi64x(0, 1, 2, 3));
    FourCounters low{{counter, token, step, stream}};
    FourCounters high{{_mm256_add_epi64(counter, _mm256_set1_epi64x(4)), token, step, stream}};
    auto key0 = static_cast<std::uint32_t>(key.seed), key1 = static_cast<std::uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
      philox_round(low, key0, key1);
      philox_round(high, key0, key1);
    }
    drop_32_columns(low, threshold, values + first);
    drop_32_columns(high, threshold, values + first + 32);
  }
}
#endif

template <typename Value>
void drop_columns(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
                  Value* values) {
  const RowKey row_key{key.seed, key.first_token + static_cast<std::uint32_t>(row), key.step,
                       key.micro_batch << 16 | (key.layer * 8 + static_cast<std::uint32_t>(module)), key.threshold()};
  std::int64_t done = 0;
#ifdef __x86_64__
  static const bool wide = cpu_support().best >= CpuIsa::kAvx2;
  // A threshold of 65,536 drops every draw and does not fit the lanes.
  if (wide && row_key.threshold <= 0xffff) {
    done = count / 64 * 64;
    drop_columns_avx2(row_key, static_cast<std::uint32_t>(first_column / kColumnsOfCounter), done, values);
  }
#endif
  drop_columns_plain(row_key, static_cast<std::uint32_t>((first_column + done) / kColumnsOfCounter), count - done,
                     values + done);
}

}  // namespace

void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              float* values) {
  drop_columns(key, module, row, first_column, count, values);
}

void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              Bf16* values) {
  drop_columns(key, module, row, first_column, count, values);
}

}  // namespace shori
