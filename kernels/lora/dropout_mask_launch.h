// Launcher that draws the dropout masks of a group.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"

namespace shori {

// kept[row][module][cols / 8]: kept_byte() of each 8 columns. At most 524,280 rows.
struct DrawMasksLaunch {
  std::uint8_t* kept = nullptr;
  std::int64_t rows = 0, cols = 0;
  int modules = 0;
  int module_index[kMaxModulesOfGroup] = {};  // part of the mask's key
  DropoutMask mask;
};
SHORI_LAUNCHER void launch_draw_masks(const DrawMasksLaunch& arguments, cudaStream_t stream);

}  // namespace shori
