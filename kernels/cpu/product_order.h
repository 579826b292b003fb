// The order in which the tile instructions of AMX add products of bf16, as plain loops. With SHORI_OPS=reference the
// products of kernels/cpu/product.h run in these loops, and tests compare the kernel with them byte for byte.
//
//   for each 32 k:  e = o = 0;  for r = 0..15:  e = fma(a[2r], b[2r], e),  o = fma(a[2r + 1], b[2r + 1], o);  s = s + (e + o)
//
// Every operand and every result that is denormal counts as zero, of its sign.
// Source: Intel SDM, TDPBF16PS. Checked on an Emerald Rapids.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/simd.h"
#include "shori/util/bf16.h"

namespace shori {

inline constexpr std::int64_t kTileDepth = 32;  // k of one tile instruction

SHORI_INLINE float without_denormal(float value) {
  return __builtin_fabsf(value) < std::numeric_limits<float>::min() ? __builtin_copysignf(0.0f, value) : value;
}

// sum + a(0) b(0) + ... + a(count - 1) b(count - 1), where a and b are fp32 values of bf16. `count` is rounded up to
// kTileDepth with zeros.
template <typename A, typename B>
float sum_in_tile_order(std::int64_t count, const A& a, const B& b, float sum) {
  const auto product = [&](std::int64_t k, float total) {
    const float x = k < count ? without_denormal(a(k)) : 0.0f, y = k < count ? without_denormal(b(k)) : 0.0f;
    return without_denormal(std::fma(x, y, total));
  };
  for (std::int64_t first = 0; first < count; first += kTileDepth) {
    float even = 0.0f, odd = 0.0f;
    for (std::int64_t k = first; k < first + kTileDepth; k += 2) {
      even = product(k, even);
      odd = product(k + 1, odd);
    }
    sum = without_denormal(without_denormal(sum) + without_denormal(even + odd));
  }
  return sum;
}

}  // namespace shori
