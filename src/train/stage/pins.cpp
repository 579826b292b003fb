#include "src/train/stage/pins.h"

#include <algorithm>
#include <set>

#include "src/train/step/evaluation.h"

namespace shori {

std::vector<std::uint64_t> epoch_ends(const PackPlan& plan) {
  std::set<std::uint64_t> steps{plan.steps.size()};
  for (std::size_t epoch = 0; epoch < plan.epochs.size(); ++epoch)
    if (const auto step = plan.last_step_of_epoch(epoch)) steps.insert(*step);
  return {steps.begin(), steps.end()};
}

bool is_pin_due(const PreparedStage& stage, const TrainingState& state) {
  const std::vector<std::uint64_t> ends = epoch_ends(stage.plan);
  return std::ranges::find(ends, state.step) != ends.end() || state.guards.best_step == state.step;
}

PinReasons pin_reasons(const PreparedStage& stage, const TrainingState& state) {
  return {.step = state.step,
          .epoch_ends = epoch_ends(stage.plan),
          .save_total_limit = static_cast<std::size_t>(stage.config.save_total_limit),
          .best_step = state.guards.best_step,
          .is_evaluated = [&stage](std::uint64_t step) { return evaluation_due(stage, step); }};
}

}  // namespace shori
