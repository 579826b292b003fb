// Which checkpoints of a run stay in checkpoints/pinned/: those of the newest epoch ends, of the last step, and of the
// best evaluation so far.
#pragma once

#include <cstdint>
#include <vector>

#include "shori/train/checkpoint.h"
#include "shori/train/prepared_stage.h"
#include "src/train/stage/manifest.h"

namespace shori {

// Last steps of the epochs and of the run, ascending.
std::vector<std::uint64_t> epoch_ends(const PackPlan& plan);

// Whether the checkpoint of the step that `state` describes must be pinned.
bool is_pin_due(const PreparedStage& stage, const TrainingState& state);

// What CheckpointStore::drop_outdated_pins() keeps after that step. `stage` must outlive the result.
PinReasons pin_reasons(const PreparedStage& stage, const TrainingState& state);

}  // namespace shori
