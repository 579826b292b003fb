// Products of bf16 matrices with fp32 sums by the tile instructions of AMX.
//
// The order of the sums is that of product_order.h, whatever the blocks: a sum that is stored and continued by a later
// call has the same bits as one that was not interrupted. On a machine without AMX, and with SHORI_OPS=reference, the
// loops of product_order.h run instead.
#pragma once

#include <cstdint>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/product_pack.h"

namespace shori {

// c [rows, cols] = a [rows, k] b [k, cols], or += that.
struct TileProduct {
  const Bf16* a = nullptr;   // packed left operand, from the first row and the first k of the product on
  std::int64_t a_depth = 0;  // padded k of the packed operand, of which the product may take a part
  const Bf16* b = nullptr;   // packed right operand, from the first k and the first panel of the product on
  std::int64_t b_depth = 0;  // padded k of the packed operand
  std::int64_t rows = 0, k = 0, cols = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  Sum sum = Sum::kReplace;
};
void multiply(const TileProduct& product);

// Rows of an op as a packed left operand in the workspace; the caller's frame releases it.
struct PackedRows {
  const Bf16* data;
  std::int64_t count, depth;  // rows and padded k
};
PackedRows packed_rows(const OpContext& context, ConstTensorView rows);

// Whether the ops multiply bf16 by multiply(): cpu_isa() is kAmx.
bool use_tile_products();

}  // namespace shori
