// Guards over the numbers of a run: spikes, a loss that stays high, updates that are too large, adapters that do not
// learn. Their state is part of the checkpoint, so that decisions after a resume equal those of the untouched run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"

namespace shori {

// Exponential average and variance of one series (decay 0.98).
struct SpikeAverage {
  double mean = 0, variance = 0;
  // True if `value` lies more than 6 standard deviations above the mean (only after 20 values). Then takes the value
  // in.
  bool add(double value, std::uint64_t count_before);
};

struct GuardSettings {
  std::optional<double> loss_watchdog_threshold;
  std::int64_t loss_watchdog_patience = 3;
};

class Guards {
 public:
  explicit Guards(GuardSettings settings) : settings_(settings) {}

  // After each step. Tells W0601 (spike) and W0602 (update above 100 x the rate), throws E0602 (watchdog) and E0604
  // (update above 1,000 x the rate). `where`: name and element of the largest update.
  void check_step(std::uint64_t step, double loss, double grad_norm, double update_max, double learning_rate,
                  const std::string& where);

  Json state() const;
  void restore(const JsonValue& state);

  std::optional<double> best_eval;              // lowest sum over all sets so far
  std::optional<std::uint64_t> best_step;       // its step
  std::optional<std::uint64_t> evaluated_step;  // last step whose eval lines are written
  std::uint64_t moving_steps =
      0;  // steps with a learning rate that is not 0, up to 2: when the dead-adapter check is due

 private:
  GuardSettings settings_;
  SpikeAverage loss_, log_norm_;
  std::uint64_t count_ = 0;
  std::int64_t above_threshold_ = 0;
};

// One LoRA factor for the dead-adapter check.
struct FactorState {
  std::string name;
  bool is_b = false;
  std::span<const float> start;  // value before step 1
  std::span<const float> now;
};

// After the second step that moved anything. Fresh adapter: every B has a non-zero element and every A differs from its
// decayed start; after init_from every factor differs from its decayed start. `decay` holds the factor of each step so
// far. E0603 names the modules.
void check_adapter_alive(std::span<const FactorState> factors, std::span<const float> decay, bool fresh);

}  // namespace shori
