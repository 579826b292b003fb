// Frozen weights as rows a matrix product can read: [W | B'] of one module, in one pass.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

// Row r of `out`, cols + tail values: row r of the weight, then zeros with b[r, 0 .. rank) at slot_column. cols and
// tail are multiples of 8, `out`, `dense` and `codes` 16-byte aligned. Bytes a weight: 0.516 read, 2 written. The same
// bits as dequantize_nf4.
struct Nf4DequantizeLaunch {
  const std::uint8_t* codes;  // NF4, or null: `dense` is copied
  const std::uint8_t* absmax;
  const float* absmax2;
  const float* map;  // [256] device_map_signed()
  float offset;
  const float* scales;  // of each block, instead of the four above; or null
  const Bf16* dense;    // [rows, cols]
  const Bf16* b;        // [rows, rank], null without LoRA
  Bf16* out;            // [rows, cols + tail]
  std::int64_t rows, cols, tail;
  std::int64_t rank, slot_column;
};
SHORI_LAUNCHER void launch_nf4_dequantize(const Nf4DequantizeLaunch& arguments, cudaStream_t stream);

}  // namespace shori
