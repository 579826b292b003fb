// Vectors of one register and e^x on them. A function whose body compares lanes is a template of the number of lanes:
// GCC splits a comparison of vectors that are wider than the registers into scalars, at a tenth of the speed.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd.h"

namespace shori {

// kWidth lanes; the row functions sum in kLanes lanes, which are kLanes / kWidth of these vectors.
template <int kWidth>
struct Vector {
  typedef float Float __attribute__((vector_size(4 * kWidth)));
  typedef float Unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

  static SHORI_INLINE Float load(const float* in) { return *reinterpret_cast<const Unaligned*>(in); }
  static SHORI_INLINE void store(const Float& value, float* out) { *reinterpret_cast<Unaligned*>(out) = value; }

  // The last, incomplete vectors of a row. Lanes past the end hold `fill`.
  static SHORI_INLINE Float load(const float* in, std::int64_t count, float fill) {
    if (count >= kWidth) return load(in);
    float lanes[kWidth];
    for (std::int64_t i = 0; i < kWidth; ++i) lanes[i] = i < count ? in[i] : fill;
    return load(lanes);
  }
  static SHORI_INLINE void store(const Float& value, std::int64_t count, float* out) {
    if (count >= kWidth) return store(value, out);
    float lanes[kWidth];
    store(value, lanes);
    for (std::int64_t i = 0; i < count; ++i) out[i] = lanes[i];
  }
};

// x = e^x within about 1 ulp for normal results; 0 below -87.33, infinity above 88.72, NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2. ln 2 is split into two parts, so that n times the first is exact. The polynomial is
// the minimax polynomial of the relative error on that range.
template <typename Float>
SHORI_INLINE void exp_lanes(Float& x) {
  using Int = decltype(x < x);
  constexpr float kLowest = -87.33f, kHighest = 88.722839f;
  const Int below = x<kLowest, above = x> kHighest;
  const Float clamped = below ? Float{} + kLowest : above ? Float{} + kHighest : x;
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  const Float shifted = clamped * 1.44269502f + kRoundToInteger;
  const Float n = shifted - kRoundToInteger;
  const Float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Float poly = r * 1.38145406e-3f + 8.36874545e-3f;
  poly = poly * r + 4.1668389e-2f;
  poly = poly * r + 1.66665211e-1f;
  poly = poly * r + 4.9999994e-1f;
  poly = poly * (r * r) + r;
  poly = poly + 1.0f;
  // 2^n is two factors, because 2^128 is no fp32 number.
  const Int whole = (Int)shifted - 0x4b400000;
  const Int first = whole >> 1;
  const Float scale1 = (Float)((first + 127) << 23), scale2 = (Float)((whole - first + 127) << 23);
  const Float value = (poly * scale1) * scale2;
  x = below ? Float{} : above ? Float{} + __builtin_inff() : value;
}

}  // namespace shori
