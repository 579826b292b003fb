// The shape of one linear in the groups that tests of ops make.
#pragma once

#include <cstdint>

namespace shori {

// LinearModule::index of each linear of a layer.
enum LinearIndex : int { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr bool kNoLora = false;

struct ModuleShape {
  int index = kQ;
  std::int64_t out = 0;
  bool lora = true;
};

}  // namespace shori
