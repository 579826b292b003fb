// Launcher that dequantizes a frozen weight to the fused rows [W | B'] of one module, which a matrix product reads.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

// Row r of `out` has cols + lora_columns values: row r of the weight, then zeros but for b[r, 0 .. rank) from LoRA column
// b_column on. cols and lora_columns are multiples of 8; `out`, `dense` and `codes` are 16-byte aligned. The values are
// the bits of dequantize_nf4. Bytes per weight: 0.516 read, 2 written.
struct Nf4DequantizeLaunch {
  const std::uint8_t* codes;  // NF4; null: `dense` is copied
  const std::uint8_t* absmax;
  const float* absmax2;
  const float* map;  // [256] device_map_signed()
  float offset;
  const float* scales;  // flat scale of each block, instead of the four above; or null
  const Bf16* dense;    // [rows, cols]
  const Bf16* b;        // [rows, rank]; null without LoRA
  Bf16* out;            // [rows, cols + lora_columns]
  std::int64_t rows, cols, lora_columns;
  std::int64_t rank, b_column;
};
SHORI_LAUNCHER void launch_nf4_dequantize(const Nf4DequantizeLaunch& arguments, cudaStream_t stream);

}  // namespace shori
