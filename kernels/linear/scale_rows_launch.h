// Launcher of the scaled rows that the products of nf4_product.cu take.
#pragma once

#include "kernels/common/launch.h"
#include "shori/util/bf16.h"

namespace shori {

// Rows of bf16 to fp16 in the range that the products need: row i times the power of two 1 / undo[i]. Columns from `cols` on
// stay bf16, times the same factor. Pointers are 16-byte aligned; widths and strides are multiples of 8.
// Bytes: the rows are read twice, once from L2, and written once.
struct ScaleRowsLaunch {
  const Bf16* from;   // [rows, cols + other_cols]
  std::uint16_t* to;  // [rows, cols + other_cols], without gaps
  float* undo;        // [rows]
  std::int64_t stride;
  int rows, cols, other_cols;
};
SHORI_LAUNCHER void launch_scale_rows(const ScaleRowsLaunch& arguments, cudaStream_t stream);

}  // namespace shori
