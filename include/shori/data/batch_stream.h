// A micro-batch as the model takes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "shori/data/dataset.h"
#include "shori/data/pack_plan.h"

namespace shori {

inline constexpr std::int32_t kNoLabel = -100;
inline constexpr std::int32_t kPadId = 2;

// T ids: rows behind each other, each right-padded (padding is a causal segment of its own).
struct PackedBatch {
  std::vector<std::int32_t> ids;             // [T]
  std::vector<std::int32_t> labels;          // [T] the id to predict AT position i (already shifted), or kNoLabel
  std::vector<std::int32_t> position_ids;    // [T] from 0 in each sample; 0 in padding
  std::vector<std::int32_t> cu_seqlens;      // [n + 1] starts of samples and of padding, then T
  std::int64_t max_seqlen = 0;               // longest segment
  std::int64_t real_tokens = 0;              // T without padding
  std::int64_t targets = 0;                  // labels other than kNoLabel
  std::vector<std::uint32_t> samples;        // indices of the samples, in order
  std::vector<std::uint8_t> roles;           // [T] TokenRole of the predicted id; only of evaluation batches
  std::vector<std::uint32_t> conversations;  // [T] conversation of the predicted id; only of evaluation batches
};

// Micro-batch `index` of the plan. `samples` are those the plan was made of. Under compat the target that crosses a
// sample boundary inside a row is kept, by default it is masked; no target ever crosses rows.
PackedBatch make_batch(std::span<const Sample> samples, const PackPlan& plan, std::size_t index);

// What the plan must know of each sample.
std::vector<SampleCost> sample_costs(std::span<const Sample> samples);

// Rows of an evaluation set: data order, the packing rule of training.
std::vector<Row> make_eval_rows(std::span<const Sample> samples, const PlanOptions& options);
// `rows` joined into one batch, with roles and conversations.
PackedBatch make_eval_batch(std::span<const Sample> samples, std::span<const Row> rows, const PlanOptions& options);

}  // namespace shori
