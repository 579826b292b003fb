// O3 vectorizes the loops that stand in for the tiles; the project's O2 does not.
#pragma GCC optimize("O3")

#include "kernels/cpu/product.h"

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product_kernel.h"
#include "shori/ops/cpu_isa.h"

namespace shori {

namespace {

constexpr int kColumns = 16;

// sum_in_tile_order() for one row of a and the 16 columns of a tile. `b` are pairs of k.
SHORI_CLONES void add_step(const Bf16* a, const Bf16* b, float* sums) {
  float even[kColumns] = {}, odd[kColumns] = {};
  for (std::int64_t pair = 0; pair < kTileDepth / 2; ++pair) {
    const float x = without_denormal(to_float(a[2 * pair])), y = without_denormal(to_float(a[2 * pair + 1]));
    const Bf16* row = b + pair * 2 * kColumns;
    for (int i = 0; i < kColumns; ++i) {
      even[i] = without_denormal(__builtin_fmaf(x, without_denormal(to_float(row[2 * i])), even[i]));
      odd[i] = without_denormal(__builtin_fmaf(y, without_denormal(to_float(row[2 * i + 1])), odd[i]));
    }
  }
  for (int i = 0; i < kColumns; ++i) {
    sums[i] = without_denormal(without_denormal(sums[i]) + without_denormal(even[i] + odd[i]));
  }
}

void multiply_in_order(const TileProduct& product) {
  constexpr std::int64_t kTileElements = kStripRows * kTileDepth;
  for (std::int64_t row = 0; row < product.rows; ++row) {
    const Bf16* a = product.a + row / kStripRows * kStripRows * product.a_depth + row % kStripRows * kTileDepth;
    for (std::int64_t col = 0; col < product.cols; col += kColumns) {
      const std::int64_t cols = std::min<std::int64_t>(kColumns, product.cols - col);
      const Bf16* b = product.b + col / kPanelColumns * kPanelColumns * product.b_depth +
                      col % kPanelColumns / kColumns * kTileElements;
      float* c = product.c + row * product.c_stride + col;
      float sums[kColumns] = {};
      if (product.sum == Sum::kAdd) std::copy_n(c, cols, sums);
      for (std::int64_t step = 0; step < padded(product.k) / kTileDepth; ++step) {
        add_step(a + step * kTileElements, b + step * 2 * kTileElements, sums);
      }
      std::copy_n(sums, cols, c);
    }
  }
}

}  // namespace

void multiply(const TileProduct& product) {
#ifdef __x86_64__
  if (cpu_support().best == CpuIsa::kAmx && !use_reference_ops()) {
    AmxTiles tiles;
    multiply_by(tiles, product);
    return;
  }
#endif
  multiply_in_order(product);
}

PackedRows packed_rows(const OpContext& context, ConstTensorView rows) {
  const std::int64_t depth = padded(rows.cols);
  auto* data = context.workspace->take_array<Bf16>(static_cast<std::size_t>(packed_elements(rows.cols, rows.rows)));
  for_each_task(ceil_div(rows.rows, kLeftRows), [&](std::int64_t task, std::int64_t) {
    const std::int64_t first = task * kLeftRows;
    pack_left_rows(rows.row<Bf16>(first), rows.stride, std::min(kLeftRows, rows.rows - first), rows.cols,
                   data + first * depth);
  });
  return {data, rows.rows, depth};
}

bool use_tile_products() { return cpu_isa() == CpuIsa::kAmx; }

}  // namespace shori
