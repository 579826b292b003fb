// O3 unrolls the loops over vectors, so that they stay in registers; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/row_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/nf4_block.h"
#include "kernels/cpu/nf4_decode.h"
#include "kernels/cpu/rows.h"
#include "shori/quant/dynamic_map.h"
#include "shori/util/math.h"

#ifdef __x86_64__
#include <immintrin.h>
#define SHORI_AVX2 __attribute__((target("avx2,fma")))
#define SHORI_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#endif

namespace shori {

namespace {

constexpr std::int64_t kStep = 32;  // elements of a dense row that are read at once

// How rows are read.
enum class RowFormat { kNf4, kNf4AcrossRows, kBf16, kF32 };
RowFormat format_of(const FrozenWeight& weight) {
  if (weight.dtype == DType::kBf16) return RowFormat::kBf16;
  if (weight.dtype == DType::kF32) return RowFormat::kF32;
  return weight.cols % kNf4BlockSize == 0 ? RowFormat::kNf4 : RowFormat::kNf4AcrossRows;
}

struct Inputs {
  const float* packed;
  std::int64_t stride, count;
};

float half_sum(const float* lanes) {
  float part[16];
  for (int l = 0; l < 16; ++l) part[l] = lanes[l] + lanes[16 + l];
  for (int half = 8; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) part[l] = part[l] + part[l + half];
  }
  return part[0];
}

// Readers of rows. Each gives the vectors of one step in the order of the packed input; vector v is added to sum
// v % kSums, so that a step of any reader fills the 32 lanes.
struct PlainNf4 {
  static constexpr std::int64_t kElements = kNf4BlockSize;
  const std::uint8_t* codes;
  const BlockScales& scales;
  std::int64_t block;

  void next(float* out) {
    float values[kNf4BlockSize];
    decode_block_plain(codes + block * (kNf4BlockSize / 2), scales.of(block), values);
    ++block;
    for (std::int64_t k = 0; k < 4; ++k) {
      for (std::int64_t l = 0; l < 16; ++l) out[k * 16 + l] = values[4 * row_word(l) + k];
    }
  }
};
struct PlainBf16 {
  static constexpr std::int64_t kElements = kStep;
  const Bf16* row;

  void next(float* out) {
    for (std::int64_t l = 0; l < kStep; ++l) out[l % 2 * 16 + l / 2] = to_float(row[l]);
    row += kStep;
  }
};
struct PlainF32 {
  static constexpr std::int64_t kElements = kStep;
  const float* row;

  void next(float* out) {
    std::copy_n(row, kStep, out);
    row += kStep;
  }
};

template <typename Reader>
void dot_plain(Reader reader, std::int64_t steps, const Inputs& inputs, float* sums) {
  const float* x = inputs.packed;
  float lanes[kMaxRowInputs][kStep] = {};
  for (std::int64_t step = 0; step < steps; ++step, x += Reader::kElements) {
    float values[Reader::kElements];
    reader.next(values);
    for (std::int64_t input = 0; input < inputs.count; ++input) {
      for (std::int64_t i = 0; i < Reader::kElements; ++i) {
        float& lane = lanes[input][i % kStep];
        lane = std::fma(values[i], x[input * inputs.stride + i], lane);
      }
    }
  }
  for (std::int64_t input = 0; input < inputs.count; ++input) sums[input] = half_sum(lanes[input]);
}

struct Plain {
  static void dot(const std::uint8_t* codes, const BlockScales& scales, std::int64_t block, std::int64_t steps,
                  const Inputs& inputs, float* sums) {
    dot_plain(PlainNf4{codes, scales, block}, steps, inputs, sums);
  }
  static void dot(const Bf16* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_plain(PlainBf16{row}, steps, inputs, sums);
  }
  static void dot(const float* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_plain(PlainF32{row}, steps, inputs, sums);
  }
};

#ifdef __x86_64__
// The 16 values of a block as two tables of bytes, each twice: byte look-ups give the halves of bf16 values.
struct ByteTables {
  __m256i low, high;
};
SHORI_AVX2 SHORI_INLINE __m256i rounded_words(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}

struct Avx2Nf4 {
  static constexpr int kVectors = 8;
  const std::uint8_t* codes;
  const BlockScales& scales;
  std::int64_t block;
  __m256 first_levels, second_levels;  // 0-3 and 8-11, 4-7 and 12-15: packing words joins lanes of 128 bits

  SHORI_AVX2 SHORI_INLINE Avx2Nf4(const std::uint8_t* all_codes, const BlockScales& all_scales, std::int64_t first)
      : codes(all_codes + first * (kNf4BlockSize / 2)), scales(all_scales), block(first) {
    float levels[16];
    for (unsigned code = 0; code < 16; ++code) levels[code] = nf4_level(code);
    first_levels = _mm256_set_m128(_mm_loadu_ps(levels + 8), _mm_loadu_ps(levels));
    second_levels = _mm256_set_m128(_mm_loadu_ps(levels + 12), _mm_loadu_ps(levels + 4));
  }

  SHORI_AVX2 SHORI_INLINE ByteTables tables(float block_scale) const {
    const __m256 scale = _mm256_set1_ps(block_scale);
    const __m256i words = _mm256_packus_epi32(rounded_words(_mm256_mul_ps(first_levels, scale)),
                                              rounded_words(_mm256_mul_ps(second_levels, scale)));
    const __m256i split = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12,
                                           14, 1, 3, 5, 7, 9, 11, 13, 15);
    const __m256i bytes = _mm256_shuffle_epi8(words, split);
    return {_mm256_permute4x64_epi64(bytes, 0x88), _mm256_permute4x64_epi64(bytes, 0xdd)};
  }

  SHORI_AVX2 SHORI_INLINE void next(__m256 (&out)[kVectors]) {
    const ByteTables table = tables(scales.of(block++));
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
    const __m256i upper_half = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    for (int half = 0; half < 2; ++half) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 16 * half));
      out[half] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
      out[2 + half] = _mm256_castsi256_ps(_mm256_and_si256(words, upper_half));
    }
    row += kStep;
  }
};
struct Avx2F32 {
  static constexpr int kVectors = 4;
  const float* row;

  SHORI_AVX2 SHORI_INLINE void next(__m256 (&out)[kVectors]) {
    for (int v = 0; v < kVectors; ++v) out[v] = _mm256_loadu_ps(row + 8 * v);
    row += kStep;
  }
};

SHORI_AVX2 SHORI_INLINE float half_sum_avx2(const __m256 (&sum)[4]) {
  const __m256 eight = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <typename Reader>
SHORI_AVX2 SHORI_INLINE void dot_avx2(Reader reader, std::int64_t steps, const Inputs& inputs, float* sums) {
  const float* x = inputs.packed;
  __m256 vectors[Reader::kVectors];
  if (inputs.count == 1) {
    __m256 sum[4] = {};
    for (std::int64_t step = 0; step < steps; ++step, x += 8 * Reader::kVectors) {
      reader.next(vectors);
      for (int v = 0; v < Reader::kVectors; ++v) {
        sum[v % 4] = _mm256_fmadd_ps(vectors[v], _mm256_loadu_ps(x + 8 * v), sum[v % 4]);
      }
    }
    sums[0] = half_sum_avx2(sum);
    return;
  }
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

struct Avx2 {
  SHORI_AVX2 static void dot(const std::uint8_t* codes, const BlockScales& scales, std::int64_t block,
                             std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx2(Avx2Nf4(codes, scales, block), steps, inputs, sums);
  }
  SHORI_AVX2 static void dot(const Bf16* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx2(Avx2Bf16{row}, steps, inputs, sums);
  }
  SHORI_AVX2 static void dot(const float* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx2(Avx2F32{row}, steps, inputs, sums);
  }
};

struct Avx512Nf4 {
  static constexpr int kVectors = 4;
  const std::uint8_t* codes;
  const BlockScales& scales;
  std::int64_t block;

  SHORI_AVX512 SHORI_INLINE Avx512Nf4(const std::uint8_t* all_codes, const BlockScales& all_scales, std::int64_t first)
      : codes(all_codes + first * (kNf4BlockSize / 2)), scales(all_scales), block(first) {}

  SHORI_AVX512 SHORI_INLINE void next(__m512 (&out)[kVectors]) {
    const UnsignedLanes values = block_values(scales.of(block++)) << 16;
    const __m512 table = (__m512)values;
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
    const __m512i words = _mm512_loadu_si512(row);
    row += kStep;
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
    row += kStep;
  }
};

template <typename Reader>
SHORI_AVX512 SHORI_INLINE void dot_avx512(Reader reader, std::int64_t steps, const Inputs& inputs, float* sums) {
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
    float stored[kStep];
    _mm512_storeu_ps(stored, lanes[input][0]);
    _mm512_storeu_ps(stored + 16, lanes[input][1]);
    sums[input] = half_sum(stored);
  }
}

struct Avx512 {
  SHORI_AVX512 static void dot(const std::uint8_t* codes, const BlockScales& scales, std::int64_t block,
                               std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx512(Avx512Nf4(codes, scales, block), steps, inputs, sums);
  }
  SHORI_AVX512 static void dot(const Bf16* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx512(Avx512Bf16{row}, steps, inputs, sums);
  }
  SHORI_AVX512 static void dot(const float* row, std::int64_t steps, const Inputs& inputs, float* sums) {
    dot_avx512(Avx512F32{row}, steps, inputs, sums);
  }
};
#endif

void store(const float* sums, std::int64_t count, float* out, std::int64_t stride, bool add) {
  for (std::int64_t input = 0; input < count; ++input) {
    float& to = out[input * stride];
    to = add ? to + sums[input] : sums[input];
  }
}

// A dense row: whole steps where they are, then the rest from a copy padded with zeros, as the packed input is.
template <typename Isa, typename T>
void dense_row(const T* row, std::int64_t cols, const Inputs& inputs, float* out, std::int64_t stride, bool add) {
  const std::int64_t whole = cols / kStep, rest = cols % kStep;
  float sums[kMaxRowInputs];
  if (whole > 0) {
    Isa::dot(row, whole, inputs, sums);
    store(sums, inputs.count, out, stride, add);
  }
  if (rest == 0) return;
  T tail[kStep] = {};
  std::copy_n(row + whole * kStep, rest, tail);
  Isa::dot(tail, 1, {inputs.packed + whole * kStep, inputs.stride, inputs.count}, sums);
  store(sums, inputs.count, out, stride, add || whole > 0);
}

// A row whose quantization blocks begin in other rows, decoded by chunks.
template <typename Isa>
void nf4_row_across(CpuIsa isa, const FrozenWeight& weight, std::int64_t row, const Inputs& inputs, float* out,
                    std::int64_t stride) {
  constexpr std::int64_t kChunk = 16 * kStep;
  float chunk[kChunk];
  for (std::int64_t col = 0; col < weight.cols; col += kChunk) {
    const std::int64_t cols = std::min(kChunk, weight.cols - col);
    decode_nf4(isa, weight.nf4, row * weight.cols + col, cols, chunk);
    dense_row<Isa>(chunk, cols, {inputs.packed + col, inputs.stride, inputs.count}, out, stride, col > 0);
  }
}

template <typename Isa>
void multiply_rows_by(CpuIsa isa, const FrozenWeight& weight, std::int64_t first, std::int64_t last,
                      const Inputs& inputs, float* out, std::int64_t stride) {
  const BlockScales scales{dynamic_map_signed(), weight.nf4};
  const RowFormat format = format_of(weight);
  for (std::int64_t row = first; row < last; ++row, ++out) {
    float sums[kMaxRowInputs];
    switch (format) {
      case RowFormat::kNf4: {
        const std::int64_t blocks = weight.cols / kNf4BlockSize;
        Isa::dot(weight.nf4.codes, scales, row * blocks, blocks, inputs, sums);
        store(sums, inputs.count, out, stride, false);
        break;
      }
      case RowFormat::kNf4AcrossRows:
        nf4_row_across<Isa>(isa, weight, row, inputs, out, stride);
        break;
      case RowFormat::kBf16:
        dense_row<Isa>(static_cast<const Bf16*>(weight.dense) + row * weight.cols, weight.cols, inputs, out, stride,
                       false);
        break;
      case RowFormat::kF32:
        dense_row<Isa>(static_cast<const float*>(weight.dense) + row * weight.cols, weight.cols, inputs, out, stride,
                       false);
        break;
    }
  }
}

SHORI_INLINE Lanes widened_lanes(const float* in) { return *reinterpret_cast<const UnalignedLanes*>(in); }
SHORI_INLINE Lanes widened_lanes(const Bf16* in) {
  HalfWords words;
  std::memcpy(&words, in, sizeof(words));
  return (Lanes)(__builtin_convertvector(words, UnsignedLanes) << 16);
}
SHORI_INLINE float widened_element(float value) { return value; }
SHORI_INLINE float widened_element(Bf16 value) { return to_float(value); }

// kParts vectors of columns stay in registers over all rows.
template <int kParts, typename T>
SHORI_INLINE void add_weighted_columns(const T* rows, std::int64_t stride, std::int64_t count, const float* weights,
                                       float* sum) {
  Lanes part[kParts];
  for (int i = 0; i < kParts; ++i) part[i] = widened_lanes(sum + i * kLanes);
  for (std::int64_t row = 0; row < count; ++row, rows += stride) {
    for (int i = 0; i < kParts; ++i) part[i] = part[i] + weights[row] * widened_lanes(rows + i * kLanes);
  }
  std::memcpy(sum, part, sizeof(part));
}
template <typename T>
SHORI_INLINE void add_weighted(const T* rows, std::int64_t cols, std::int64_t count, const float* weights, float* sum) {
  std::int64_t col = 0;
  for (; col + 4 * kLanes <= cols; col += 4 * kLanes) {
    add_weighted_columns<4>(rows + col, cols, count, weights, sum + col);
  }
  for (; col + kLanes <= cols; col += kLanes) {
    add_weighted_columns<1>(rows + col, cols, count, weights, sum + col);
  }
  for (; col < cols; ++col) {
    for (std::int64_t row = 0; row < count; ++row) {
      sum[col] = sum[col] + weights[row] * widened_element(rows[row * cols + col]);
    }
  }
}
SHORI_CLONES void add_weighted_f32(const float* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                   float* sum) {
  add_weighted(rows, cols, count, weights, sum);
}
SHORI_CLONES void add_weighted_bf16(const Bf16* rows, std::int64_t cols, std::int64_t count, const float* weights,
                                    float* sum) {
  add_weighted(rows, cols, count, weights, sum);
}

}  // namespace

std::int64_t packed_input_size(const FrozenWeight& weight) { return round_up(weight.cols, kStep); }

void pack_input(const FrozenWeight& weight, const float* x, float* packed) {
  const RowFormat format = format_of(weight);
  const std::int64_t cols = weight.cols;
  if (format == RowFormat::kNf4) {
    for (std::int64_t block = 0; block < cols; block += kNf4BlockSize) {
      for (std::int64_t i = 0; i < kNf4BlockSize; ++i) packed[block + i] = x[block + 4 * row_word(i % 16) + i / 16];
    }
    return;
  }
  std::fill_n(packed + cols, packed_input_size(weight) - cols, 0.0f);
  if (format != RowFormat::kBf16) {
    std::copy_n(x, cols, packed);
    return;
  }
  for (std::int64_t step = 0; step < cols; step += kStep) {
    for (std::int64_t i = 0; i < kStep; ++i) {
      const std::int64_t from = step + 2 * (i % 16) + i / 16;
      packed[step + i] = from < cols ? x[from] : 0.0f;
    }
  }
}

void multiply_rows(CpuIsa isa, const FrozenWeight& weight, std::int64_t first, std::int64_t last, const float* packed,
                   std::int64_t count, float* sums, std::int64_t stride) {
  const Inputs inputs{packed, packed_input_size(weight), count};
#ifdef __x86_64__
  isa = std::min(isa, cpu_support().best);
  if (isa >= CpuIsa::kAvx512) return multiply_rows_by<Avx512>(isa, weight, first, last, inputs, sums, stride);
  if (isa == CpuIsa::kAvx2) return multiply_rows_by<Avx2>(isa, weight, first, last, inputs, sums, stride);
#endif
  multiply_rows_by<Plain>(isa, weight, first, last, inputs, sums, stride);
}

void add_weighted_rows(const FrozenWeight& matrix, std::int64_t first, std::int64_t last, const float* weights,
                       float* sum) {
  const std::int64_t cols = matrix.cols, count = last - first;
  if (matrix.dtype == DType::kF32) {
    add_weighted_f32(static_cast<const float*>(matrix.dense) + first * cols, cols, count, weights, sum);
  } else {
    add_weighted_bf16(static_cast<const Bf16*>(matrix.dense) + first * cols, cols, count, weights, sum);
  }
}

}  // namespace shori
