// The row functions, compiled for several instruction sets. O3 vectorizes the loops; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/rows.h"

#include <cstring>

#include "kernels/cpu/simd.h"

namespace shori {

namespace {

SHORI_INLINE Lanes load_lanes(const float* in) { return *reinterpret_cast<const UnalignedLanes*>(in); }

// The last, incomplete vector of a row. Lanes past the end hold `fill`.
SHORI_INLINE Lanes load_partial(const float* in, std::int64_t count, float fill) {
  float lanes[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) lanes[i] = i < count ? in[i] : fill;
  return load_lanes(lanes);
}

SHORI_INLINE std::uint32_t rounded_bits(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded;
}
SHORI_INLINE float rounded(float value) { return std::bit_cast<float>(rounded_bits(value) << 16); }

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

}  // namespace shori
