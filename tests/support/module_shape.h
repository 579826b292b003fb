// The shape of one linear in the groups that tests of ops make.
#pragma once

#include <cstdint>

#include "shori/util/linear.h"

namespace shori {

using enum Linear;  // so that tables of cases read {kQ, 64}

inline constexpr bool kNoLora = false;

struct ModuleShape {
  Linear linear = Linear::kQ;
  std::int64_t out = 0;
  bool lora = true;
};

}  // namespace shori
