// Operands of the bf16 products (product.h) in the layout of tile registers.
//
//   left a [rows, k]    strips of 16 rows; a strip is tiles of 16 rows x 32 k, 1 KiB each, row-major.
//                       [rows / 16][k / 32][16][32]
//   right b [k, cols]   panels of 32 columns; a panel is steps of 32 k; a step is two tiles of 16 columns. A row of a tile
//                       holds the pairs (k, k + 1) of its 16 columns side by side.
//                       [cols / 32][k / 32][2][16 pairs][16 columns][2]
//
// Rows and columns are padded with zeros to multiples of 32, k to a multiple of 32: a zero meets only zeros.
#pragma once

#include <cstdint>

#include "kernels/cpu/product_order.h"
#include "shori/util/bf16.h"
#include "shori/util/math.h"

namespace shori {

inline constexpr std::int64_t kPanelColumns = 32;
inline constexpr std::int64_t kStripRows = 16;
inline constexpr std::int64_t kLeftRows = 32;  // rows that one call of the kernel multiplies: two strips

constexpr std::int64_t padded(std::int64_t count) { return round_up(count, std::int64_t{32}); }
// Elements of a packed operand; `other` is its rows or columns.
constexpr std::int64_t packed_elements(std::int64_t k, std::int64_t other) { return padded(k) * padded(other); }

// Packs up to kLeftRows rows of a, `stride` elements apart, to both strips at `out`. The strips have `padded(k)` columns.
void pack_left_rows(const Bf16* a, std::int64_t stride, std::int64_t rows, std::int64_t k, Bf16* out);

// The same from the transpose of a, [k, rows].
void pack_left_rows_of_transposed(const Bf16* a, std::int64_t stride, std::int64_t rows, std::int64_t k, Bf16* out);

// Packs up to kPanelColumns columns of b to one panel, padded(k) * 32 elements. `b` [k, cols] has rows `stride` apart. A
// panel may be packed in runs of k that are multiples of 32, one after the other.
void pack_panel(const Bf16* b, std::int64_t stride, std::int64_t k, std::int64_t cols, Bf16* out);
// The same from the transpose of b, [cols, k].
void pack_panel_of_transposed(const Bf16* b, std::int64_t stride, std::int64_t k, std::int64_t cols, Bf16* out);

}  // namespace shori
