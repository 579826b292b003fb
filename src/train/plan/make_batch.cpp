#include "src/train/plan/make_batch.h"

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/ignored_label.h"
#include "shori/util/text.h"

namespace shori {
namespace {

struct BatchRules {
  bool keep_boundary_targets = false;
  bool for_evaluation = false;
  std::int64_t capacity = 0;
  bool pad_to_capacity = false;
};

BatchRules rules_of(const PlanOptions& options, std::int64_t capacity, bool for_evaluation) {
  return {options.compat, for_evaluation, capacity, options.pad_to_sequence_len};
}

// The label of the last id of the row so far is the next id, which is element `index` of `sample`.
void set_last_label(PackedBatch& batch, const Sample& sample, std::size_t index, const BatchRules& rules) {
  if (sample.trained[index] == 0) return;
  batch.labels.back() = sample.ids[index];
  ++batch.targets;
  if (!rules.for_evaluation) return;
  batch.roles.back() = sample.roles.empty() ? static_cast<std::uint8_t>(TokenRole::kOther) : sample.roles[index];
  batch.conversations.back() = sample.conversation;
}

void add_id(PackedBatch& batch, std::int32_t id, std::int32_t position, const BatchRules& rules) {
  batch.ids.push_back(id);
  batch.position_ids.push_back(position);
  batch.labels.push_back(kIgnoredLabel);
  if (!rules.for_evaluation) return;
  batch.roles.push_back(static_cast<std::uint8_t>(TokenRole::kOther));
  batch.conversations.push_back(0);
}

void end_segment(PackedBatch& batch) {
  const auto end = static_cast<std::int32_t>(batch.ids.size());
  batch.max_seqlen = std::max<std::int64_t>(batch.max_seqlen, end - batch.cu_seqlens.back());
  batch.cu_seqlens.push_back(end);
}

void add_row(PackedBatch& batch, std::span<const Sample> samples, std::span<const std::uint32_t> row,
             const BatchRules& rules) {
  const std::size_t start = batch.ids.size();
  for (const std::uint32_t index : row) {
    SHORI_CHECK(index < samples.size(), concat("the plan names sample ", index));
    const Sample& sample = samples[index];
    for (std::size_t i = 0; i < sample.ids.size(); ++i) {
      const bool has_predictor = i > 0 || (rules.keep_boundary_targets && batch.ids.size() > start);
      if (has_predictor) set_last_label(batch, sample, i, rules);
      add_id(batch, sample.ids[i], static_cast<std::int32_t>(i), rules);
    }
    end_segment(batch);
    batch.samples.push_back(index);
  }
  const auto tokens = static_cast<std::int64_t>(batch.ids.size() - start);
  const std::int64_t padding = padded_length(tokens, rules.capacity, rules.pad_to_capacity) - tokens;
  for (std::int64_t i = 0; i < padding; ++i) add_id(batch, kPadId, 0, rules);
  if (padding > 0) end_segment(batch);
  batch.real_tokens += tokens;
}

PackedBatch empty_batch() {
  PackedBatch batch;
  batch.cu_seqlens = {0};
  return batch;
}

}  // namespace

PackedBatch make_batch(std::span<const Sample> samples, const PackPlan& plan, std::size_t index) {
  SHORI_CHECK(samples.size() == plan.samples.size(), "the plan was made of other samples");
  const MicroBatch& rows = plan.micro_batches.at(index);
  const BatchRules rules = rules_of(plan.options, plan.options.row_capacity(), false);
  PackedBatch batch = empty_batch();
  std::int64_t targets = 0;
  for (std::size_t row = rows.first_row; row < rows.first_row + rows.row_count; ++row) {
    add_row(batch, samples, plan.row(row), rules);
    targets += plan.row_targets(row);
  }
  SHORI_CHECK(batch.targets == targets, concat("micro-batch ", index, " has ", batch.targets,
                                               " targets, the plan says ", targets));
  return batch;
}

std::vector<Row> make_eval_rows(std::span<const Sample> samples, const PlanOptions& options) {
  std::vector<std::int64_t> lengths;
  std::vector<std::uint32_t> order;
  for (const Sample& sample : samples) {
    order.push_back(static_cast<std::uint32_t>(lengths.size()));
    lengths.push_back(static_cast<std::int64_t>(sample.ids.size()));
  }
  return pack_rows(lengths, order, options.sequence_len, options.mode());
}

PackedBatch make_eval_batch(std::span<const Sample> samples, std::span<const Row> rows, const PlanOptions& options) {
  const BatchRules rules = rules_of(options, options.sequence_len, true);
  PackedBatch batch = empty_batch();
  for (const Row& row : rows) add_row(batch, samples, row, rules);
  return batch;
}

}  // namespace shori
