// Integer arithmetic of sizes and counts.
#pragma once

#include <concepts>

#include "shori/util/host_device.h"

namespace shori {

// value / by, rounded up. value >= 0, by > 0.
template <std::integral Number>
SHORI_HD constexpr Number ceil_div(Number value, Number by) {
  return (value + by - 1) / by;
}

// The smallest multiple of `of` that is at least `value`.
template <std::integral Number>
SHORI_HD constexpr Number round_up(Number value, Number of) {
  return ceil_div(value, of) * of;
}

}  // namespace shori
