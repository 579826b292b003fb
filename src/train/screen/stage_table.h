// The table of stages that is shown before anything loads, and how long they may take.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"

namespace shori {

// Seconds that the steps of a stage which are not trained yet will take at `seconds_per_token`.
double seconds_left(const PreparedStage& stage, double seconds_per_token);

// Of each stage: by the steps of the run in its folder, else by those of the stage before it; nullopt: neither has any.
std::vector<std::optional<double>> seconds_per_token(std::span<const PreparedStage> stages);

// Stage, conversations, tokens, packs, steps, learning rate, the time left where a rate is known, and state. At most 80
// columns where names are short and no stage was changed.
std::string stage_table(const std::vector<PreparedStage>& stages);

}  // namespace shori
