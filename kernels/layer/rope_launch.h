// Launcher of ops/rope.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

struct RopeLaunch {
  Bf16* heads;                    // [rows, heads_of_row * 2 * half]
  const Bf16 *cos, *sin;          // [positions, half]
  const std::int32_t* positions;  // [rows]
  std::int64_t stride, rows;
  int heads_of_row;
  int half;  // half of the head size, a multiple of 8
  bool inverse;
};
SHORI_LAUNCHER void launch_rope(const RopeLaunch& arguments, cudaStream_t stream);

}  // namespace shori
