// Launchers of the products with NF4 weights that decode on their way to the tensor cores (kernels/linear/nf4_product.h).
#pragma once

#include "kernels/common/launch.h"
#include "shori/ops/linear_group.h"

namespace shori {

// A weight of the group, and which of the group's outputs are its own.
struct Nf4ProductModule {
  const std::uint8_t* codes;  // [rows, in / 2]
  const std::uint8_t* absmax;
  const float* absmax2;
  const float* scales;  // flat scale of each block, instead of nested ones; or null
  const Bf16* b;        // B' [rows, rank]; null without LoRA
  float offset;
  int rows, first_output;
  int b_column;  // of the LoRA columns
};

struct Nf4ProductLaunch {
  Nf4ProductModule module[kMaxModulesOfGroup];
  int modules;
  const float* map;        // [256] device_map_signed()
  const std::uint16_t* a;  // scaled rows of x or dy
  const float* undo;       // [m] what scaling did to a row is undone by
  Bf16* y;                 // y, or [dx | dxA]
  std::int64_t a_stride, y_stride;
  int m, in, lora_columns, rank;
  int group_m;     // tiles of rows that share the L2: the block order (nf4_product.cu)
  bool half_sums;  // sums of 64 columns in fp16; else all in fp32
};
// y = [x | xA] . [W | B']^T, and [dx | dxA] = dy . [W | B'].
SHORI_LAUNCHER void launch_nf4_product(const Nf4ProductLaunch& arguments, cudaStream_t stream);
SHORI_LAUNCHER void launch_nf4_product_backward(const Nf4ProductLaunch& arguments, cudaStream_t stream);

}  // namespace shori
