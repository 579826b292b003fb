#include "kernels/cpu/product_pack.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/simd.h"

namespace shori {

namespace {

constexpr std::int64_t kTileElements = kStripRows * kTileDepth;

using Pairs = std::uint32_t __attribute__((vector_size(64)));  // 16 pairs of bf16
using Row = std::uint16_t __attribute__((vector_size(64)));    // 32 bf16

// `count` elements, then zeros.
template <typename Vector>
SHORI_INLINE Vector load_row(const Bf16* from, std::int64_t count) {
  Vector row{};
  if (count >= kTileDepth) {
    std::memcpy(&row, from, sizeof(row));
  } else if (count > 0) {
    std::memcpy(&row, from, static_cast<std::size_t>(count) * sizeof(Bf16));
  }
  return row;
}

// One step of a transposition: exchanges the upper lanes of each group of 2 * kDistance lanes of `a` with the lower ones of
// `b`.
template <int kDistance, std::size_t... kLane>
SHORI_INLINE void exchange(Pairs& a, Pairs& b, std::index_sequence<kLane...>) {
  const Pairs low = __builtin_shufflevector(a, b, ((kLane & kDistance) != 0 ? 16 + kLane - kDistance : kLane)...);
  const Pairs high = __builtin_shufflevector(a, b, ((kLane & kDistance) != 0 ? 16 + kLane : kLane + kDistance)...);
  a = low;
  b = high;
}

template <int kDistance>
SHORI_INLINE void exchange_rows(Pairs (&rows)[16]) {
  for (int i = 0; i < 16; ++i) {
    if ((i & kDistance) == 0) exchange<kDistance>(rows[i], rows[i + kDistance], std::make_index_sequence<16>());
  }
}

SHORI_INLINE void transpose(Pairs (&rows)[16]) {
  exchange_rows<8>(rows);
  exchange_rows<4>(rows);
  exchange_rows<2>(rows);
  exchange_rows<1>(rows);
}

// The pairs (x[c], y[c]) of columns kFirst .. kFirst + 15.
template <std::size_t kFirst, std::size_t... kLane>
SHORI_INLINE Row interleave(const Row& x, const Row& y, std::index_sequence<kLane...>) {
  return __builtin_shufflevector(x, y, (kLane % 2 * 32 + kFirst + kLane / 2)...);
}

}  // namespace

void pack_left_rows(const Bf16* a, std::int64_t stride, std::int64_t rows, std::int64_t k, Bf16* out) {
  const std::int64_t depth = padded(k);
  for (std::int64_t i = 0; i < kLeftRows; ++i) {
    Bf16* to = out + i / kStripRows * kStripRows * depth + i % kStripRows * kTileDepth;
    for (std::int64_t first = 0; first < depth; first += kTileDepth) {
      const auto row = load_row<Row>(a + i * stride + first, i < rows ? k - first : 0);
      std::memcpy(to + first * kStripRows, &row, sizeof(row));
    }
  }
}

// Pairs of k beside each other are the rows of a right operand's tile; its transpose is a tile of the left operand.
SHORI_CLONES void pack_left_rows_of_transposed(const Bf16* a, std::int64_t stride, std::int64_t rows, std::int64_t k,
                                               Bf16* out) {
  constexpr auto kLanes32 = std::make_index_sequence<32>();
  const std::int64_t strip = kStripRows * padded(k);
  for (std::int64_t first = 0; first < padded(k); first += kTileDepth, out += kTileElements) {
    Pairs upper[16], lower[16];
    for (std::int64_t pair = 0; pair < 16; ++pair) {
      const std::int64_t at = first + 2 * pair;
      const auto x = load_row<Row>(a + at * stride, at < k ? rows : 0);
      const auto y = load_row<Row>(a + (at + 1) * stride, at + 1 < k ? rows : 0);
      upper[pair] = (Pairs)interleave<0>(x, y, kLanes32);
      lower[pair] = (Pairs)interleave<16>(x, y, kLanes32);
    }
    transpose(upper);
    transpose(lower);
    std::memcpy(out, upper, sizeof(upper));
    std::memcpy(out + strip, lower, sizeof(lower));
  }
}

SHORI_CLONES void pack_panel(const Bf16* b, std::int64_t stride, std::int64_t k, std::int64_t cols, Bf16* out) {
  constexpr auto kLanes32 = std::make_index_sequence<32>();
  for (std::int64_t first = 0; first < padded(k); first += 2) {
    const auto x = load_row<Row>(b + first * stride, first < k ? cols : 0);
    const auto y = load_row<Row>(b + (first + 1) * stride, first + 1 < k ? cols : 0);
    const Row left = interleave<0>(x, y, kLanes32), right = interleave<16>(x, y, kLanes32);
    Bf16* to = out + first / kTileDepth * 2 * kTileElements + first % kTileDepth / 2 * kTileDepth;
    std::memcpy(to, &left, sizeof(left));
    std::memcpy(to + kTileElements, &right, sizeof(right));
  }
}

SHORI_CLONES void pack_panel_of_transposed(const Bf16* b, std::int64_t stride, std::int64_t k, std::int64_t cols,
                                           Bf16* out) {
  for (std::int64_t first = 0; first < padded(k); first += kTileDepth) {
    for (std::int64_t half = 0; half < 2; ++half, out += kTileElements) {
      Pairs rows[16];
      for (std::int64_t i = 0; i < 16; ++i) {
        const std::int64_t col = half * 16 + i;
        rows[i] = load_row<Pairs>(b + col * stride + first, col < cols ? k - first : 0);
      }
      transpose(rows);
      std::memcpy(out, rows, sizeof(rows));
    }
  }
}

}  // namespace shori
