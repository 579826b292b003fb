#include "shori/data/pack_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/data/packing/shuffle.h"

namespace shori {
namespace {

void check_inputs(const std::vector<SampleCost>& samples, const PlanOptions& options) {
  SHORI_CHECK(!samples.empty(), "a plan needs a sample");
  SHORI_CHECK(options.sequence_len >= 1 && options.micro_batch_size >= 1 && options.gradient_accumulation_steps >= 1 &&
                  options.num_epochs >= 0,
              "plan options out of range");
  for (const SampleCost& sample : samples) {
    SHORI_CHECK(sample.length >= 1 && sample.length <= options.sequence_len && sample.inner_targets < sample.length,
                concat("sample of ", sample.length, " ids with ", sample.inner_targets, " targets"));
  }
}

void add_epoch(PackPlan& plan, std::span<const std::int64_t> lengths) {
  const std::uint64_t number = plan.epochs.size();
  const std::vector<std::uint32_t> order = random_permutation(plan.samples.size(), plan.options.seed + number);
  PlanEpoch epoch;
  epoch.first_row = plan.row_count();
  epoch.first_micro_batch = plan.micro_batches.size();
  for (const Row& row : pack_rows(lengths, order, plan.options.row_capacity(), plan.options.mode())) {
    plan.entries.insert(plan.entries.end(), row.begin(), row.end());
    plan.row_starts.push_back(plan.entries.size());
  }
  epoch.row_count = plan.row_count() - epoch.first_row;
  const auto joined = static_cast<std::size_t>(plan.options.rows_per_micro_batch());
  for (std::size_t row = epoch.first_row; row < plan.row_count(); row += joined) {
    plan.micro_batches.push_back({row, std::min(joined, plan.row_count() - row)});
  }
  epoch.micro_batch_count = plan.micro_batches.size() - epoch.first_micro_batch;
  plan.epochs.push_back(epoch);
}

void add_step(PackPlan& plan, std::size_t begin, std::size_t end) {
  PlanStep step{begin, end - begin, 0, 0, 0};
  for (std::size_t micro_batch = begin; micro_batch < end; ++micro_batch) {
    const MicroBatch& rows = plan.micro_batches[micro_batch];
    for (std::size_t row = rows.first_row; row < rows.first_row + rows.row_count; ++row) {
      step.targets += plan.row_targets(row);
      step.tokens += plan.row_tokens(row);
      step.samples += static_cast<std::int64_t>(plan.row(row).size());
    }
  }
  plan.steps.push_back(step);
}

constexpr std::int64_t kMaxEpochs = 100'000;  // the largest num_epochs of a config

// Is an update due after micro-batch `index` (counted over the whole run) of the last epoch of the plan?
bool update_is_due(const PackPlan& plan, std::size_t index) {
  const PlanEpoch& epoch = plan.epochs.back();
  const auto accumulation = static_cast<std::size_t>(plan.options.gradient_accumulation_steps);
  const std::size_t in_epoch = index + 1 - epoch.first_micro_batch;
  const bool last = in_epoch == epoch.micro_batch_count;
  if (!plan.options.compat) return last || in_epoch % accumulation == 0;
  // The counter of transformers' Trainer of early 2024 runs on across epochs.
  return (index + 1) % accumulation == 0 || (last && epoch.micro_batch_count <= accumulation);
}

void add_steps_of_last_epoch(PackPlan& plan, std::int64_t limit) {
  std::size_t begin =
      plan.steps.empty() ? 0 : plan.steps.back().first_micro_batch + plan.steps.back().micro_batch_count;
  for (std::size_t index = plan.epochs.back().first_micro_batch; index < plan.micro_batches.size(); ++index) {
    if (static_cast<std::int64_t>(plan.steps.size()) >= limit) return;
    if (!update_is_due(plan, index)) continue;
    add_step(plan, begin, index + 1);
    begin = index + 1;
  }
}

std::int64_t estimated_limit(const PackPlan& plan) {
  const PlanOptions& options = plan.options;
  std::int64_t tokens = 0;
  for (const SampleCost& sample : plan.samples) tokens += sample.length;
  return estimate_axolotl_steps(tokens, static_cast<std::int64_t>(plan.epochs.front().row_count),
                                options.row_capacity(), options.gradient_accumulation_steps, options.num_epochs);
}

}  // namespace

PackMode PlanOptions::mode() const {
  if (!sample_packing) return PackMode::kSingle;
  return compat ? PackMode::kNextFit : PackMode::kBestFit;
}

// Axolotl's packer fills a whole micro-batch at once; otherwise a micro-batch joins rows of sequence_len.
std::int64_t PlanOptions::row_capacity() const {
  return mode() == PackMode::kNextFit ? micro_batch_size * sequence_len : sequence_len;
}

std::int64_t PlanOptions::rows_per_micro_batch() const { return mode() == PackMode::kNextFit ? 1 : micro_batch_size; }

std::span<const std::uint32_t> PackPlan::row(std::size_t index) const {
  return std::span(entries).subspan(row_starts[index], row_starts[index + 1] - row_starts[index]);
}

std::int64_t PackPlan::row_tokens(std::size_t index) const {
  std::int64_t tokens = 0;
  for (const std::uint32_t sample : row(index)) tokens += samples[sample].length;
  return tokens;
}

std::int64_t PackPlan::row_targets(std::size_t index) const {
  std::int64_t targets = 0;
  for (const std::uint32_t sample : row(index)) {
    targets += samples[sample].inner_targets;
    if (options.compat && samples[sample].first_label) ++targets;
  }
  // Nothing precedes the first id of a row.
  if (options.compat && samples[row(index).front()].first_label) --targets;
  return targets;
}

std::size_t PackPlan::epoch_of(std::size_t micro_batch) const {
  const auto after =
      std::upper_bound(epochs.begin(), epochs.end(), micro_batch,
                       [](std::size_t value, const PlanEpoch& epoch) { return value < epoch.first_micro_batch; });
  return static_cast<std::size_t>(after - epochs.begin()) - 1;
}

double PackPlan::epoch_after(std::size_t step) const {
  if (step == 0) return 0;
  const PlanStep& last = steps[step - 1];
  const std::size_t micro_batch = last.first_micro_batch + last.micro_batch_count - 1;
  const std::size_t number = epoch_of(micro_batch);
  const std::size_t rows =
      micro_batches[micro_batch].first_row + micro_batches[micro_batch].row_count - epochs[number].first_row;
  return static_cast<double>(number) + static_cast<double>(rows) / static_cast<double>(epochs[number].row_count);
}

std::optional<std::size_t> PackPlan::last_step_of_epoch(std::size_t epoch) const {
  if (epoch >= epochs.size()) return std::nullopt;
  const std::size_t end = epochs[epoch].first_micro_batch + epochs[epoch].micro_batch_count;
  const auto step = std::lower_bound(steps.begin(), steps.end(), end, [](const PlanStep& candidate, std::size_t value) {
    return candidate.first_micro_batch + candidate.micro_batch_count < value;
  });
  if (step == steps.end()) return std::nullopt;
  return static_cast<std::size_t>(step - steps.begin()) + 1;
}

std::size_t PackPlan::unused_micro_batches() const {
  const std::size_t used = steps.empty() ? 0 : steps.back().first_micro_batch + steps.back().micro_batch_count;
  return micro_batches.size() - used;
}

std::int64_t PackPlan::longest_micro_batch() const {
  std::int64_t longest = 0;
  for (const MicroBatch& micro_batch : micro_batches) {
    std::int64_t length = 0;
    for (std::size_t i = 0; i < micro_batch.row_count; ++i) {
      length +=
          padded_length(row_tokens(micro_batch.first_row + i), options.row_capacity(), options.pad_to_sequence_len);
    }
    longest = std::max(longest, length);
  }
  return longest;
}

PackPlan make_pack_plan(std::vector<SampleCost> samples, const PlanOptions& options) {
  check_inputs(samples, options);
  PackPlan plan;
  plan.options = options;
  plan.samples = std::move(samples);
  plan.row_starts = {0};
  std::vector<std::int64_t> lengths;
  for (const SampleCost& sample : plan.samples) lengths.push_back(sample.length);
  std::int64_t limit = options.max_steps.value_or(std::numeric_limits<std::int64_t>::max());
  const std::int64_t epochs = options.repeat_epochs ? kMaxEpochs : options.num_epochs;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    if (static_cast<std::int64_t>(plan.steps.size()) >= limit) break;
    throw_if_stop_requested();
    add_epoch(plan, lengths);
    // The estimate is one of num_epochs; max_steps takes its place.
    if (epoch == 0 && options.axolotl_step_estimate && !options.repeat_epochs && options.sample_packing)
      limit = std::min(limit, estimated_limit(plan));
    add_steps_of_last_epoch(plan, limit);
  }
  if (options.repeat_epochs) plan.options.num_epochs = std::max<std::int64_t>(1, std::ssize(plan.epochs));
  return plan;
}

std::vector<SampleCost> sample_costs(std::span<const Sample> samples) {
  std::vector<SampleCost> costs;
  costs.reserve(samples.size());
  for (const Sample& sample : samples) {
    const auto inner = std::count(sample.trained.begin() + 1, sample.trained.end(), std::uint8_t{1});
    costs.push_back({static_cast<std::uint32_t>(sample.ids.size()), static_cast<std::uint32_t>(inner),
                     sample.trained.front() == 1});
  }
  return costs;
}

std::int64_t estimate_axolotl_steps(std::int64_t tokens, std::int64_t rows, std::int64_t capacity,
                                    std::int64_t accumulation, std::int64_t epochs) {
  const double measured = static_cast<double>(tokens) / static_cast<double>(rows * capacity);
  const double efficiency = std::ceil(100.0 * measured) / 100.0;
  const double packs = std::floor(0.99 * static_cast<double>(tokens) / efficiency / static_cast<double>(capacity));
  const std::int64_t length = std::max<std::int64_t>(0, static_cast<std::int64_t>(packs) - 1);
  return epochs * std::max<std::int64_t>(length / accumulation, 1);
}

}  // namespace shori
