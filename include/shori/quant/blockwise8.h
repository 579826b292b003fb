// Nearest entry of a sorted 256-entry map. Nearest entry by comparison with the fp32 midpoint, as bitsandbytes CUDA
// quantizes.
#pragma once

#include <cmath>
#include <cstdint>

#include "shori/util/host_device.h"

namespace shori {

inline constexpr int kMapSize = 256;

// An exact midpoint goes to the even index; NaN gives 0.
SHORI_HD std::uint8_t nearest_in_map(const float* map, float value) {
  int low = 0, high = kMapSize - 1;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (value >= map[middle])
      low = middle;
    else
      high = middle;
  }
  const float midpoint = (map[low] + map[high]) * 0.5f;
  const bool take_high = value > midpoint || (value == midpoint && (high & 1) == 0);
  return static_cast<std::uint8_t>(take_high ? high : low);
}

}  // namespace shori
