// Loss on held-out data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/model/mistral.h"
#include "shori/train/prepared_stage.h"
#include "src/train/files/metrics.h"

namespace shori {

// One EvalMetrics for each held-out set: loss = sum of cross-entropy / targets of the set, without dropout. Rows are
// packed as in training, in data order, and each is one forward pass. nullopt: a stop was requested. E0601 for a loss that
// is not finite.
std::optional<std::vector<EvalMetrics>> evaluate(Mistral& model, const PreparedStage& stage, std::uint64_t step,
                                                 double epoch);

// True if evaluation is due after `step` steps: before the first, after the last, and between them every `eval_steps`
// (a count, or a share of the run), else at epoch ends.
bool evaluation_due(const PreparedStage& stage, std::uint64_t step);

// True if samples are due after `step` steps: every `sample_steps`, before the first and after the last; else with the
// evaluations.
bool samples_due(const PreparedStage& stage, std::uint64_t step);

}  // namespace shori
