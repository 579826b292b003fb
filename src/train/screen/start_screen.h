// What a terminal shows of a recipe before it begins and after it ended.
#pragma once

#include <vector>

#include "shori/config/load_config.h"
#include "shori/train/prepared_stage.h"

namespace shori {

// Program, base, adapter and the settings that are no defaults; only on a terminal, where the rest is in train.log and
// resolved.yaml.
void show_start(const std::vector<PreparedStage>& stages);

// A row for each stage that is done, and the commands that may come next.
void log_end(const LoadedConfig& config, const std::vector<PreparedStage>& stages);

}  // namespace shori
