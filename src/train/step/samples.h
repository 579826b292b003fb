// Samples of what the model writes during training.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "shori/infer/cached_model.h"
#include "shori/train/prepared_stage.h"
#include "src/train/files/metrics.h"

namespace shori {

// Continues each prompt of the stage under each preset of the card, seeded by `seed` of the config. nullopt: a stop was
// requested. Nothing of the training changes: passes of `model` use its buffers between steps.
std::optional<std::vector<SampleMetrics>> write_samples(CachedModel& model, const PreparedStage& stage,
                                                        std::uint64_t step);

}  // namespace shori
