// Guards over the numbers of a run: spikes, a loss that stays high, updates that are too large, adapters that do not
// learn. Their state is part of the checkpoint, so that after a resume they decide as in an uninterrupted run.
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
  // True if `value` is more than 6 standard deviations above the mean of at least 20 earlier values. The value then
  // counts in the average.
  bool add(double value, std::uint64_t count_before);
};

struct GuardSettings {
  std::optional<double> loss_watchdog_threshold;
  std::int64_t loss_watchdog_patience = 3;
};

class Guards {
 public:
  explicit Guards(GuardSettings settings = {}) : settings_(settings) {}

  // After each step. Logs W0601 (spike) and W0602 (update above 100 x the learning rate), throws E0602 (watchdog) and
  // E0604 (update above 1,000 x the learning rate). `where`: name and element of the largest update.
  void check_step(std::uint64_t step, double loss, double grad_norm, double update_max, double learning_rate,
                  const std::string& where);

  Json state() const;
  void restore(const JsonValue& state);

  std::optional<double> best_eval;              // lowest sum over all sets so far
  std::optional<std::uint64_t> best_step;       // its step
  std::optional<std::uint64_t> evaluated_step;  // last step whose eval lines are written
  std::optional<std::uint64_t> sampled_step;    // last step whose sample lines are written
  std::uint64_t moving_steps = 0;               // steps with a learning rate above 0, counted up to 3

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

// The dead-adapter check, after the second step with a learning rate above 0. A fresh adapter must have a non-zero
// element in every B, and every A must differ from its decayed start; after init_from every factor must differ from its
// decayed start. `decay`: the decay factor of each step so far. E0603 names the factors.
void check_adapter_alive(std::span<const FactorState> factors, std::span<const float> decay, bool fresh);

}  // namespace shori
