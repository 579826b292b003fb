// Learning rate of each optimizer step. Source: transformers optimization.py (get_constant_schedule,
// get_linear_schedule_with_warmup, get_cosine_schedule_with_warmup).
#pragma once

#include <cstdint>

namespace shori {

enum class LrShape : std::uint8_t {
  kConstant,  // ignores warm-up steps
  kLinear,    // rises from 0 over the warm-up, then falls to 0 at the last step's end
  kCosine,    // the same with half a cosine
};

struct LrSchedule {
  LrShape shape = LrShape::kConstant;
  double learning_rate = 0;
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 0;
};

// Rate of optimizer step `step` (from 1), in doubles as Python computes it. A warm-up's first step has rate 0.
double learning_rate_at(const LrSchedule& schedule, std::int64_t step);

}  // namespace shori
