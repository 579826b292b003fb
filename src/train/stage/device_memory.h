// The device memory of the stages of a recipe, planned before any of them is loaded.
#pragma once

#include <span>

#include "shori/train/prepared_stage.h"
#include "shori/train/recipe.h"

namespace shori {

// Sets `memory` of every stage that runs on a device and logs its table; stages on the CPU stay without, and with `--plan` their
// table is logged. With `--plan`
// for a GPU that the user describes, all stages are planned for that one, after check_device_support(). Consecutive
// stages with equal base_key() keep their base loaded and are planned together. Errors of choose_memory_plans().
void plan_device_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options);

}  // namespace shori
