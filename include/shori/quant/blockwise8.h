// Nearest entry of a sorted 256-entry map, by comparison with fp32 midpoints as bitsandbytes' CUDA kernels do.
#pragma once

#include <cmath>
#include <cstdint>

#include "shori/util/host_device.h"

namespace shori {

inline constexpr int kMapSize = 256;

// An exact midpoint goes to the even index; NaN gives 0. Without branches on the value: searches of neighbours overlap.
SHORI_HD std::uint8_t nearest_in_map(const float* map, float value) {
  int low = 0;  // in the end the last entry not above `value`, 254 at most
  for (int step = kMapSize / 2; step > 0; step /= 2) low += value >= map[low + step] ? step : 0;
  low -= low == kMapSize - 1 ? 1 : 0;
  const int high = low + 1;
  const float midpoint = (map[low] + map[high]) * 0.5f;
  const bool take_high = (value > midpoint) | ((value == midpoint) & ((high & 1) == 0));
  return static_cast<std::uint8_t>(low + (take_high ? 1 : 0));
}

}  // namespace shori
