// The row functions, compiled for several instruction sets. O3 vectorizes the loops; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/rows.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/simd.h"
#include "shori/quant/nf4_levels.h"
#include "shori/util/philox.h"

namespace shori {

namespace {

SHORI_INLINE Lanes load_lanes(const float* in) { return *reinterpret_cast<const UnalignedLanes*>(in); }
SHORI_INLINE void store_lanes(const Lanes& value, float* out) { *reinterpret_cast<UnalignedLanes*>(out) = value; }

// The last, incomplete vector of a row. Lanes past the end hold `fill`.
SHORI_INLINE Lanes load_partial(const float* in, std::int64_t count, float fill) {
  float lanes[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) lanes[i] = i < count ? in[i] : fill;
  return load_lanes(lanes);
}
SHORI_INLINE void store_partial(const Lanes& value, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = value[i];
}

SHORI_INLINE std::uint32_t rounded_bits(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded;
}
SHORI_INLINE float rounded(float value) { return std::bit_cast<float>(rounded_bits(value) << 16); }

SHORI_INLINE Lanes sigmoid_lanes(const Lanes& value) {
  Lanes e = -value;
  exp_lanes(e);
  return 1.0f / (1.0f + e);
}

}  // namespace

SHORI_CLONES void widen_row(const Bf16* in, float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(in[i].bits) << 16);
}

SHORI_CLONES void narrow_row(const float* in, Bf16* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i].bits = static_cast<std::uint16_t>(rounded_bits(in[i]));
}

SHORI_CLONES static void round_row_to_bf16(float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = rounded(values[i]);
}

void load_row(ConstTensorView view, std::int64_t row, std::int64_t first, std::int64_t count, float* out) {
  if (view.dtype == DType::kBf16) {
    widen_row(view.row<Bf16>(row) + first, out, count);
  } else {
    std::memcpy(out, view.row<float>(row) + first, static_cast<std::size_t>(count) * sizeof(float));
  }
}

void store_row(const float* in, TensorView view, std::int64_t row, std::int64_t first, std::int64_t count) {
  if (view.dtype == DType::kBf16) {
    narrow_row(in, view.row<Bf16>(row) + first, count);
  } else {
    std::memcpy(view.row<float>(row) + first, in, static_cast<std::size_t>(count) * sizeof(float));
  }
}

void round_row(DType dtype, float* values, std::int64_t count) {
  if (dtype == DType::kBf16) round_row_to_bf16(values, count);
}

SHORI_CLONES void add_to_row(const float* in, float* sum, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] = sum[i] + in[i];
}

SHORI_CLONES void add_scaled_row(float scale, const float* in, float* sum, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] = sum[i] + scale * in[i];
}

SHORI_CLONES void multiply_row(const float* in, float* product, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) product[i] = product[i] * in[i];
}

SHORI_CLONES void scale_row(float scale, float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = values[i] * scale;
}

SHORI_CLONES float dot_rows(const float* a, const float* b, std::int64_t count) {
  Lanes sum = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum = sum + load_lanes(a + i) * load_lanes(b + i);
  if (i < count) sum = sum + load_partial(a + i, count - i, 0.0f) * load_partial(b + i, count - i, 0.0f);
  return sum_of_lanes(sum);
}

SHORI_CLONES void norm_gradient_row(const float* h, float rstd, float mean, float* g, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) g[i] = rstd * (g[i] - (h[i] * rstd) * mean);
}

SHORI_CLONES void silu_row(float* gate, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes value = load_lanes(gate + i);
    store_lanes(value * sigmoid_lanes(value), gate + i);
  }
  if (i == count) return;
  const Lanes value = load_partial(gate + i, count - i, 0.0f);
  store_partial(value * sigmoid_lanes(value), count - i, gate + i);
}

SHORI_CLONES void swiglu_gradient_row(const float* dp, float* gate, float* up, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const std::int64_t left = count - i;
    const bool whole = left >= kLanes;
    const Lanes g = whole ? load_lanes(gate + i) : load_partial(gate + i, left, 0.0f);
    const Lanes u = whole ? load_lanes(up + i) : load_partial(up + i, left, 0.0f);
    const Lanes d = whole ? load_lanes(dp + i) : load_partial(dp + i, left, 0.0f);
    const Lanes s = sigmoid_lanes(g);
    const Lanes dgate = d * u * s * (1.0f + g * (1.0f - s));
    const Lanes dup = d * g * s;
    if (whole) {
      store_lanes(dgate, gate + i);
      store_lanes(dup, up + i);
    } else {
      store_partial(dgate, left, gate + i);
      store_partial(dup, left, up + i);
    }
  }
}

SHORI_CLONES float max_of_row(const float* values, std::int64_t count) {
  Lanes largest = Lanes{} - std::numeric_limits<float>::infinity();
  Lanes poison = {};  // becomes NaN with the first NaN, and with an infinity, which the last loop tells apart
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Lanes value = load_lanes(values + i);
    largest = value > largest ? value : largest;
    poison = poison + value * 0.0f;
  }
  for (; i < count; ++i) {
    largest[0] = values[i] > largest[0] ? values[i] : largest[0];
    poison[0] = poison[0] + values[i] * 0.0f;
  }
  float result = largest[0];
  for (int lane = 1; lane < kLanes; ++lane) result = largest[lane] > result ? largest[lane] : result;
  if (sum_of_lanes(poison) == 0.0f) return result;
  for (i = 0; i < count; ++i) {
    if (values[i] != values[i]) return values[i];
  }
  return result;
}

SHORI_CLONES float exp_shifted_row(float scale, float shift, float* values, std::int64_t count) {
  Lanes sum = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes value = load_lanes(values + i) * scale - shift;
    exp_lanes(value);
    store_lanes(value, values + i);
    sum = sum + value;
  }
  if (i < count) {
    // Lanes past the end hold -infinity, so they add 0 to the sum.
    Lanes value = load_partial(values + i, count - i, -std::numeric_limits<float>::infinity()) * scale - shift;
    exp_lanes(value);
    store_partial(value, count - i, values + i);
    sum = sum + value;
  }
  return sum_of_lanes(sum);
}

SHORI_CLONES void attention_gradient_row(float scale, float lse, float delta, float* score, float* dscore,
                                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const std::int64_t left = count - i;
    const bool whole = left >= kLanes;
    Lanes p = (whole ? load_lanes(score + i) : load_partial(score + i, left, 0.0f)) * scale - lse;
    exp_lanes(p);
    const Lanes d = whole ? load_lanes(dscore + i) : load_partial(dscore + i, left, 0.0f);
    const Lanes ds = p * (d - delta) * scale;
    if (whole) {
      store_lanes(p, score + i);
      store_lanes(ds, dscore + i);
    } else {
      store_partial(p, left, score + i);
      store_partial(ds, left, dscore + i);
    }
  }
}

SHORI_CLONES static void rotate_row_fp32(const float* cos, const float* sin, float* first, float* second,
                                         std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = first[i], b = second[i];
    first[i] = a * cos[i] - b * sin[i];
    second[i] = b * cos[i] + a * sin[i];
  }
}

SHORI_CLONES static void rotate_row_bf16(const float* cos, const float* sin, float* first, float* second,
                                         std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = first[i], b = second[i];
    first[i] = rounded(rounded(a * cos[i]) - rounded(b * sin[i]));
    second[i] = rounded(rounded(b * cos[i]) + rounded(a * sin[i]));
  }
}

void rotate_row(DType dtype, const float* cos, const float* sin, float* first, float* second, std::int64_t half) {
  if (dtype == DType::kBf16) {
    rotate_row_bf16(cos, sin, first, second, half);
  } else {
    rotate_row_fp32(cos, sin, first, second, half);
  }
}

namespace {

constexpr std::int64_t kGroups = 8;  // Philox calls computed side by side
constexpr std::int64_t kMaskColumns = 8 * kGroups;
using Words = std::uint64_t __attribute__((vector_size(64)));  // one word of 8 counters, each below 2^32

// philox4x32() of the 8 counters {group + i, token, step, stream}: the draws of columns 8 * group .. 8 * (group + 8) - 1.
SHORI_INLINE void draw_columns(std::uint64_t key, std::uint32_t group, std::uint32_t token, std::uint32_t step,
                               std::uint32_t stream, std::uint64_t* draws) {
  constexpr std::uint64_t kLow = 0xffffffffu;
  Words c0 = (Words{0, 1, 2, 3, 4, 5, 6, 7} + group) & kLow, c1 = Words{} + token, c2 = Words{} + step,
        c3 = Words{} + stream;
  std::uint32_t key0 = static_cast<std::uint32_t>(key), key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Words product0 = c0 * 0xD2511F53u, product1 = c2 * 0xCD9E8D57u;
    c0 = (product1 >> 32) ^ c1 ^ key0;
    c1 = product1 & kLow;
    c2 = (product0 >> 32) ^ c3 ^ key1;
    c3 = product0 & kLow;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const Words first = c0 | (c1 << 32), second = c2 | (c3 << 32);
  for (int i = 0; i < kGroups; ++i) {
    draws[2 * i] = first[i];
    draws[2 * i + 1] = second[i];
  }
}

}  // namespace

SHORI_CLONES static void drop_columns(const DropoutKey& key, std::uint32_t token, std::uint32_t stream,
                                      std::int64_t first_column, std::int64_t count, float* values) {
  const std::uint32_t threshold = key.threshold();
  std::uint64_t words[2 * kGroups];
  std::uint16_t draws[kMaskColumns];
  for (std::int64_t first = 0; first < count; first += kMaskColumns) {
    draw_columns(key.seed, static_cast<std::uint32_t>((first_column + first) / 8), token, key.step, stream, words);
    std::memcpy(draws, words, sizeof(draws));
    const std::int64_t columns = count - first < kMaskColumns ? count - first : kMaskColumns;
    float* chunk = values + first;
    for (std::int64_t i = 0; i < columns; ++i) chunk[i] = draws[i] < threshold ? 0.0f : chunk[i];
  }
}

void drop_row(const DropoutKey& key, int module, std::int64_t row, std::int64_t first_column, std::int64_t count,
              float* values) {
  const std::uint32_t token = key.first_token + static_cast<std::uint32_t>(row);
  const std::uint32_t stream = key.micro_batch << 16 | (key.layer * 8 + static_cast<std::uint32_t>(module));
  drop_columns(key, token, stream, first_column, count, values);
}

SHORI_CLONES float sum_of_squares_by_halving(const float* values, std::int64_t count) {
  constexpr std::int64_t kChunk = 4096;
  float sums[kChunk / 2];
  const auto square = [&](std::int64_t i) { return i < count ? values[i] * values[i] : 0.0f; };
  if (count == kChunk) {
    for (std::int64_t i = 0; i < kChunk / 2; ++i) {
      sums[i] = values[i] * values[i] + values[i + kChunk / 2] * values[i + kChunk / 2];
    }
  } else {
    for (std::int64_t i = 0; i < kChunk / 2; ++i) sums[i] = square(i) + square(i + kChunk / 2);
  }
  for (std::int64_t half = kChunk / 4; half > 0; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
  }
  return sums[0];
}

SHORI_CLONES void dequantize_block(const std::uint8_t* codes, float scale, float* out) {
  float values[16];
  for (unsigned code = 0; code < 16; ++code) values[code] = rounded(nf4_level(code) * scale);
  for (int i = 0; i < kNf4BlockSize / 2; ++i) {
    out[2 * i] = values[codes[i] >> 4];
    out[2 * i + 1] = values[codes[i] & 15];
  }
}

}  // namespace shori
