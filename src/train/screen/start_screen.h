// What a terminal shows of a recipe before it begins and after it ended.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/load_config.h"
#include "shori/train/prepared_stage.h"

namespace shori {

// Program, base, adapter and the settings that are no defaults; only on a terminal, where the rest is in train.log and
// resolved.yaml.
void show_start(const std::vector<PreparedStage>& stages);

// The device, and three lines of the plan of the stage that needs the most memory. `available`: bytes that are free. Every
// stage has a plan. Only on a terminal.
void show_memory(std::span<PreparedStage* const> stages, std::string_view device, std::size_t available);

// What became of each stage that is done, and what may come next. `rest_command` trains the stages that are left.
void log_end(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const std::string& rest_command);

}  // namespace shori
