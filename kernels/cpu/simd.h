// Vectors of 16 fp32 lanes in plain C++ (the vector types of GCC and Clang), and functions compiled for several instruction
// sets. Each lane computes what the scalar expression does, with the same roundings, so the bits are the same on every
// x86-64.
#pragma once

#include <cstdint>

// Compiles one body for several register widths; the loader picks one. None of them contracts a * b + c, because
// -ffp-contract=off holds for all.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define SHORI_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SHORI_CLONES
#endif
#define SHORI_INLINE inline __attribute__((always_inline))
// The warning is about passing vectors between functions. Here such functions are always inlined, so no ABI is involved.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace shori {

inline constexpr std::int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(64)));
using IntLanes = std::int32_t __attribute__((vector_size(64)));
using UnalignedLanes = float __attribute__((vector_size(64), aligned(4), may_alias));

// Adds the lanes by a fixed tree: halves are added until one value is left.
SHORI_INLINE float sum_of_lanes(const Lanes& value) {
  float part[kLanes];
  for (int i = 0; i < kLanes; ++i) part[i] = value[i];
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) part[i] = part[i] + part[i + half];
  }
  return part[0];
}

// x = e^x within about 1 ulp for normal results; 0 below -87.33, infinity above 88.72, NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2. ln 2 is split into two parts, so that n times the first is exact. The polynomial is
// the minimax polynomial of the relative error on that range.
SHORI_INLINE void exp_lanes(Lanes& x) {
  constexpr float kLowest = -87.33f, kHighest = 88.722839f;
  const IntLanes below = x<kLowest, above = x> kHighest;
  const Lanes clamped = below ? Lanes{} + kLowest : above ? Lanes{} + kHighest : x;
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  const Lanes shifted = clamped * 1.44269502f + kRoundToInteger;
  const Lanes n = shifted - kRoundToInteger;
  const Lanes r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes poly = r * 1.38145406e-3f + 8.36874545e-3f;
  poly = poly * r + 4.1668389e-2f;
  poly = poly * r + 1.66665211e-1f;
  poly = poly * r + 4.9999994e-1f;
  poly = poly * (r * r) + r;
  poly = poly + 1.0f;
  // 2^n is two factors, because 2^128 is no fp32 number.
  const IntLanes whole = (IntLanes)shifted - 0x4b400000;
  const IntLanes first = whole >> 1;
  const Lanes scale1 = (Lanes)((first + 127) << 23), scale2 = (Lanes)((whole - first + 127) << 23);
  const Lanes value = (poly * scale1) * scale2;
  x = below ? Lanes{} : above ? Lanes{} + __builtin_inff() : value;
}

}  // namespace shori
