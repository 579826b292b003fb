// One quantization block of 64 weights, from 32 bytes of codes: the 16 values that the block can hold are computed and
// rounded once, then each code looks its value up.
//
// The 512-bit bodies are written with the vector types of the compiler. Functions for AVX-512 inline them; tests compile
// them for every x86-64.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd.h"
#include "shori/quant/nf4.h"
#include "shori/quant/nf4_levels.h"

namespace shori {

using UnsignedLanes = std::uint32_t __attribute__((vector_size(64)));
using HalfWords = std::uint16_t __attribute__((vector_size(32)));
using Words16 = std::uint16_t __attribute__((vector_size(64)));

// The scales of a weight, with the look-up of the map done once.
struct BlockScales {
  const float* map;
  Nf4View weight;

  SHORI_INLINE float of(std::int64_t block) const {
    if (!weight.layout.nested) return weight.scales[block];
    return nf4_scale(map[weight.absmax[block]], weight.absmax2[static_cast<std::uint64_t>(block) / kNf4GroupSize],
                     weight.offset);
  }
};

// The bits of `value` rounded to bf16, as bits of fp32 >> 16; NaN becomes 0x7fff.
SHORI_INLINE UnsignedLanes rounded_lanes(const Lanes& value) {
  const UnsignedLanes bits = (UnsignedLanes)value;
  const UnsignedLanes rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const UnsignedLanes is_nan = (UnsignedLanes)((bits & 0x7fffffffu) > 0x7f800000u);
  return (is_nan & 0x7fffu) | (~is_nan & rounded);
}

// The 16 values of a block, as rounded_lanes() gives them.
SHORI_INLINE UnsignedLanes block_values(float scale) {
  Lanes levels;
  for (unsigned code = 0; code < 16; ++code) levels[code] = nf4_level(code);
  return rounded_lanes(levels * scale);
}

template <typename Vector, typename Index>
SHORI_INLINE Vector look_up(const Vector& table, const Index& index) {
#ifdef __clang__
  Vector result{};
  constexpr int kCount = sizeof(Vector) / sizeof(table[0]);
  for (int i = 0; i < kCount; ++i) result[i] = table[index[i] % kCount];
  return result;
#else
  return __builtin_shuffle(table, index);  // takes each index modulo the number of elements
#endif
}

// A byte b becomes the two codes b >> 4 and b & 15. Both bodies leave further bits above the codes, which look_up() drops.
SHORI_INLINE void decode_block_512(const std::uint8_t* codes, float scale, float* out) {
  using Bytes = std::uint8_t __attribute__((vector_size(8)));
  using Wide = std::uint64_t __attribute__((vector_size(64)));
  const UnsignedLanes table = block_values(scale) << 16;
  for (int chunk = 0; chunk < 4; ++chunk) {
    Bytes bytes;
    std::memcpy(&bytes, codes + 8 * chunk, sizeof(bytes));
    const Wide wide = __builtin_convertvector(bytes, Wide);
    const UnsignedLanes value = look_up(table, (UnsignedLanes)(wide >> 4 | wide << 32));
    std::memcpy(out + 16 * chunk, &value, sizeof(value));
  }
}

SHORI_INLINE void decode_block_512(const std::uint8_t* codes, float scale, Bf16* out) {
  using Bytes = std::uint8_t __attribute__((vector_size(16)));
  const HalfWords values = __builtin_convertvector(block_values(scale), HalfWords);
  Words16 table;  // twice, because an odd code keeps its fifth bit: 32 entries take either
  std::memcpy(&table, &values, sizeof(values));
  std::memcpy(reinterpret_cast<std::byte*>(&table) + sizeof(values), &values, sizeof(values));
  for (int chunk = 0; chunk < 2; ++chunk) {
    Bytes bytes;
    std::memcpy(&bytes, codes + 16 * chunk, sizeof(bytes));
    const UnsignedLanes wide = __builtin_convertvector(bytes, UnsignedLanes);
    const Words16 value = look_up(table, (Words16)(wide >> 4 | wide << 16));
    std::memcpy(out + 32 * chunk, &value, sizeof(value));
  }
}

// For every processor.
template <typename Out>
SHORI_INLINE void decode_block_plain(const std::uint8_t* codes, float scale, Out* out) {
  Out values[16];
  for (unsigned code = 0; code < 16; ++code) {
    const Bf16 value = nf4_weight(code, scale);
    if constexpr (sizeof(Out) == sizeof(float)) {
      values[code] = to_float(value);
    } else {
      values[code] = value;
    }
  }
  for (int i = 0; i < kNf4BlockSize / 2; ++i) {
    out[2 * i] = values[codes[i] >> 4];
    out[2 * i + 1] = values[codes[i] & 15];
  }
}

}  // namespace shori
