// How the CPU versions of the LoRA gradients cut their work: a task owns some columns of one gradient.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "shori/ops/linear_group.h"

namespace shori {

// Columns of a factor's wide side (in or out) that one task takes; a multiple of 8, the columns of one draw of the mask.
inline constexpr std::int64_t kGradientColumns = 64;

// Some columns of one module's gradient.
struct GradientTile {
  const LinearModule* module;
  std::int64_t first, width;
};

// Cuts the gradients of all modules with LoRA into tiles; `extent(module)` is the number of columns of a gradient.
template <typename Extent>
std::vector<GradientTile> gradient_tiles(const LinearGroup& group, const Extent& extent) {
  std::vector<GradientTile> tiles;
  for (const LinearModule& module : group.modules) {
    if (!module.has_lora()) continue;
    const std::int64_t columns = extent(module);
    for (std::int64_t first = 0; first < columns; first += kGradientColumns) {
      tiles.push_back({&module, first, std::min(kGradientColumns, columns - first)});
    }
  }
  return tiles;
}

}  // namespace shori
