// Micro-batches for the model, from samples and the pack plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shori/data/pack_plan.h"
#include "shori/data/sample.h"
#include "shori/ops/packed_batch.h"

namespace shori {

inline constexpr std::int32_t kPadId = 2;

// Micro-batch `index` of the plan, which was made of `samples`. Under compat the first id of a sample is a target of
// the last id of the sample before it in the row; otherwise it is none. No target ever crosses rows.
PackedBatch make_batch(std::span<const Sample> samples, const PackPlan& plan, std::size_t index);

// Rows of an evaluation set in data order, packed as in training.
std::vector<Row> make_eval_rows(std::span<const Sample> samples, const PlanOptions& options);
// One batch of `rows`, with the role and the conversation of each label.
PackedBatch make_eval_batch(std::span<const Sample> samples, std::span<const Row> rows, const PlanOptions& options);

}  // namespace shori
