// Axolotl's keys that count by the length of the run: warmup_ratio, saves_per_epoch, evals_per_epoch, and save_steps as a
// share below 1.
#pragma once

#include <string_view>

#include "src/config/settings.h"

namespace shori {

bool is_run_share(std::string_view key);

// Whether this setting gives `stage.shares` instead of a field of the config; then it has been read, or refused.
bool read_run_share(const Settings& settings, const Setting& setting, StageConfig& stage, Diagnostics& diagnostics);

}  // namespace shori
