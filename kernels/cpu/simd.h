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

}  // namespace shori
