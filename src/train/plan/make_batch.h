// From samples and the pack plan to the micro-batches that the model takes.
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

// Micro-batch `index` of the plan. `samples` are those the plan was made of. Under compat the target that crosses a
// sample boundary inside a row is kept, by default it is masked; no target ever crosses rows.
PackedBatch make_batch(std::span<const Sample> samples, const PackPlan& plan, std::size_t index);

// Rows of an evaluation set: data order, the packing rule of training.
std::vector<Row> make_eval_rows(std::span<const Sample> samples, const PlanOptions& options);
// `rows` joined into one batch, with roles and conversations.
PackedBatch make_eval_batch(std::span<const Sample> samples, std::span<const Row> rows, const PlanOptions& options);

}  // namespace shori
