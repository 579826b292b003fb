#include "shori/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shori {

namespace {

// `before`: optimizer steps already taken.
double multiplier(const LrSchedule& schedule, std::int64_t before) {
  if (schedule.shape == LrShape::kConstant) return 1.0;
  if (before < schedule.warmup_steps) {
    return static_cast<double>(before) / static_cast<double>(std::max<std::int64_t>(1, schedule.warmup_steps));
  }
  const auto span = static_cast<double>(std::max<std::int64_t>(1, schedule.total_steps - schedule.warmup_steps));
  if (schedule.shape == LrShape::kLinear)
    return std::max(0.0, static_cast<double>(schedule.total_steps - before) / span);
  const double progress = static_cast<double>(before - schedule.warmup_steps) / span;
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * 0.5 * 2.0 * progress)));
}

}  // namespace

double learning_rate_at(const LrSchedule& schedule, std::int64_t step) {
  return schedule.learning_rate * multiplier(schedule, step - 1);
}

}  // namespace shori
