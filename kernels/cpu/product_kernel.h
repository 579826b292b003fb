// The loops of a product over tiles. `Tiles` are the tile registers of AMX or, in tests, plain code that does what they do
// (tests/support/plain_tiles.h).
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu/product.h"

namespace shori {

// 32 rows x 32 columns: four tiles of sums, two of a, two of b.
template <typename Tiles>
void multiply_tiles(Tiles& tiles, const Bf16* a, std::int64_t a_depth, const Bf16* b, std::int64_t k, float* c,
                    std::int64_t c_stride, Sum sum) {
  constexpr std::int64_t kTileElements = kStripRows * kTileDepth, kRowBytes = 64;
  const std::int64_t strip = kStripRows * a_depth, bytes = c_stride * static_cast<std::int64_t>(sizeof(float));
  float *lower = c + kStripRows * c_stride, *right = c + 16, *last = lower + 16;
  if (sum == Sum::kAdd) {
    tiles.template load<0>(c, bytes);
    tiles.template load<1>(right, bytes);
    tiles.template load<2>(lower, bytes);
    tiles.template load<3>(last, bytes);
  } else {
    tiles.template zero<0>();
    tiles.template zero<1>();
    tiles.template zero<2>();
    tiles.template zero<3>();
  }
  for (std::int64_t step = 0; step < padded(k) / kTileDepth; ++step, a += kTileElements, b += 2 * kTileElements) {
    tiles.template load<4>(a, kRowBytes);
    tiles.template load<6>(b, kRowBytes);
    tiles.template load<7>(b + kTileElements, kRowBytes);
    tiles.template dot<0, 4, 6>();
    tiles.template dot<1, 4, 7>();
    tiles.template load<5>(a + strip, kRowBytes);
    tiles.template dot<2, 5, 6>();
    tiles.template dot<3, 5, 7>();
  }
  tiles.template store<0>(c, bytes);
  tiles.template store<1>(right, bytes);
  tiles.template store<2>(lower, bytes);
  tiles.template store<3>(last, bytes);
}

// Rows are the outer loop: 32 rows of a stay in the first cache while they meet all columns of b, which stay in the second.
template <typename Tiles>
void multiply_by(Tiles& tiles, const TileProduct& product) {
  alignas(64) float edge[kLeftRows * kPanelColumns];  // where c has fewer than 32 rows or columns left
  for (std::int64_t row = 0; row < product.rows; row += kLeftRows) {
    const std::int64_t rows = std::min(kLeftRows, product.rows - row);
    for (std::int64_t col = 0; col < product.cols; col += kPanelColumns) {
      const std::int64_t cols = std::min(kPanelColumns, product.cols - col);
      const Bf16 *a = product.a + row * product.a_depth, *b = product.b + col * product.b_depth;
      float* c = product.c + row * product.c_stride + col;
      if (rows == kLeftRows && cols == kPanelColumns) {
        multiply_tiles(tiles, a, product.a_depth, b, product.k, c, product.c_stride, product.sum);
        continue;
      }
      const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
      std::fill_n(edge, kLeftRows * kPanelColumns, 0.0f);
      if (product.sum == Sum::kAdd) {
        for (std::int64_t i = 0; i < rows; ++i) std::memcpy(edge + i * kPanelColumns, c + i * product.c_stride, bytes);
      }
      multiply_tiles(tiles, a, product.a_depth, b, product.k, edge, kPanelColumns, product.sum);
      for (std::int64_t i = 0; i < rows; ++i) std::memcpy(c + i * product.c_stride, edge + i * kPanelColumns, bytes);
    }
  }
}

}  // namespace shori
