// The content and order of all packs of all epochs, and the micro-batches of each optimizer step: known before the
// first step. A pure function of sample lengths, target counts, options and seed.
//
// pack_plan.bin (do not change; version 1), little endian, no padding:
//   "SHORIPLN" | u32 version = 1 | u32 flags: 1 packing, 2 pad_to_sequence_len, 4 compat, 8 axolotl_step_estimate
//   u64 seed, sequence_len, micro_batch_size, gradient_accumulation_steps, num_epochs, max_steps (2^64 - 1: none)
//   u64 counts: samples, epochs, rows, entries, micro-batches, steps
//   per sample  u32 length, u32 targets inside it, u32 1 if its first id has a label else 0
//   per epoch   u64 first row, u64 first micro-batch
//   per row     u64 first entry;       then per entry u32 sample
//   per micro-batch u64 first row
//   per step    u64 first micro-batch, u64 end micro-batch, u64 targets, u64 tokens, u64 samples
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/data/packer.h"
#include "shori/data/sample.h"

namespace shori {

struct PlanOptions {
  std::int64_t sequence_len = 2048;
  bool sample_packing = true;
  bool pad_to_sequence_len = false;
  std::int64_t micro_batch_size = 1;
  std::int64_t gradient_accumulation_steps = 1;
  std::int64_t num_epochs = 1;
  std::optional<std::int64_t> max_steps;  // stops earlier, never later than num_epochs
  bool compat = false;  // axolotl-2024: next-fit into rows of micro_batch_size * sequence_len, its leftover rule
  bool axolotl_step_estimate = false;  // stops after Axolotl's estimate of the steps (with sample_packing)
  std::uint64_t seed = 42;
  // Repeats epochs until max_steps, which must be set: the plan's own options then have the number of epochs it took.
  bool repeat_epochs = false;

  PackMode mode() const;
  std::int64_t row_capacity() const;  // ids that a row may hold
  std::int64_t rows_per_micro_batch() const;
};

// What the plan needs to know of a sample.
struct SampleCost {
  std::uint32_t length = 0;
  std::uint32_t inner_targets = 0;  // labels at index 1 .. length - 1
  bool first_label = false;         // a label at index 0: a target only under compat, after another sample of the row
};

std::vector<SampleCost> sample_costs(std::span<const Sample> samples);

struct PlanEpoch {
  std::size_t first_row = 0, row_count = 0;
  std::size_t first_micro_batch = 0, micro_batch_count = 0;
};

// Consecutive rows, joined by cu_seqlens.
struct MicroBatch {
  std::size_t first_row = 0, row_count = 0;
};

// One optimizer update: consecutive micro-batches. Under compat they may begin in the epoch before (the gradient that
// was left there).
struct PlanStep {
  std::size_t first_micro_batch = 0, micro_batch_count = 0;
  std::int64_t targets = 0, tokens = 0, samples = 0;  // tokens without padding
};

struct PackPlan {
  PlanOptions options;
  std::vector<SampleCost> samples;
  std::vector<std::size_t> row_starts;  // rows + 1
  std::vector<std::uint32_t> entries;   // samples of all rows
  std::vector<PlanEpoch> epochs;
  std::vector<MicroBatch> micro_batches;
  std::vector<PlanStep> steps;  // step k of the run (from 1) is steps[k - 1]

  std::size_t row_count() const { return row_starts.size() - 1; }
  std::span<const std::uint32_t> row(std::size_t index) const;
  std::int64_t row_tokens(std::size_t index) const;  // real ids
  std::int64_t row_targets(std::size_t index) const;
  std::size_t epoch_of(std::size_t micro_batch) const;  // from 0
  // Packs trained after `step` steps / packs of an epoch, counted within epochs: 0 before the first, num_epochs at the
  // end.
  double epoch_after(std::size_t step) const;
  // First step after which all packs of epoch `epoch` (from 0) are in an update; nullopt if the run ends before.
  std::optional<std::size_t> last_step_of_epoch(std::size_t epoch) const;
  // Micro-batches that no step uses (max_steps, Axolotl's estimate, or the last leftover under compat).
  std::size_t unused_micro_batches() const;
  std::int64_t longest_micro_batch() const;  // ids with padding, over all micro-batches
};

// A sample longer than sequence_len, or no sample at all, is an internal error.
PackPlan make_pack_plan(std::vector<SampleCost> samples, const PlanOptions& options);

// Axolotl's estimate of a run's steps: ceil(epochs * max(len / accumulation, 1)), len from `tokens` and the measured
// fill of `rows` rows of `capacity`.
std::int64_t estimate_axolotl_steps(std::int64_t tokens, std::int64_t rows, std::int64_t capacity,
                                    std::int64_t accumulation, std::int64_t epochs);

std::string serialize_pack_plan(const PackPlan& plan);

// The steps of a serialized plan, whose first bytes suffice; nullopt if they are not those of a plan.
inline constexpr std::size_t kPackPlanHeadBytes = 8 + 2 * 4 + 6 * 8 + 6 * 8;
std::optional<std::uint64_t> planned_steps_of(std::string_view head);

}  // namespace shori
