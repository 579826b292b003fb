#include "shori/data/stage_data.h"

#include <algorithm>
#include <thread>

#include "shori/util/error.h"

namespace shori {
namespace {

OverlongPolicy overlong_policy(ExcessLength value) {
  switch (value) {
    case ExcessLength::kRaise:
      return OverlongPolicy::kRaise;
    case ExcessLength::kSplit:
      return OverlongPolicy::kSplit;
    case ExcessLength::kDrop:
      return OverlongPolicy::kDrop;
    case ExcessLength::kTruncate:
      return OverlongPolicy::kTruncate;
  }
  internal_error(__FILE__, __LINE__, "unknown excess_length_strategy");
}

EosRule eos_rule(EosPolicy value) {
  return value == EosPolicy::kEnd            ? EosRule::kEnd
         : value == EosPolicy::kConversation ? EosRule::kConversation
                                             : EosRule::kNever;
}

}  // namespace

std::vector<DataEntry> data_entries(const std::vector<DatasetEntry>& entries) {
  std::vector<DataEntry> result;
  for (const DatasetEntry& entry : entries)
    result.push_back({entry.path, entry.resolved_path, entry.type, entry.field, entry.category, entry.place});
  return result;
}

DataOptions data_options(const TrainConfig& config, std::int64_t vocab_size) {
  DataOptions options;
  options.sequence_len = config.sequence_len;
  options.overlong = overlong_policy(config.excess_length_strategy);
  options.train_on_inputs = config.train_on_inputs;
  options.roles_to_train = config.roles_to_train;
  options.train_on_eos = config.train_on_eos == TrainOnEos::kAll;
  options.train_on_speaker = config.blockml.train_on_speaker;
  options.bos = config.blockml.bos;
  options.eos = eos_rule(config.blockml.eos);
  options.repeat_scenario = config.blockml.repeat_scenario;
  options.compat = config.compat == CompatMode::kAxolotl2024;
  options.val_set_size = config.val_set_size;
  options.skip_samples = config.skip_samples;
  options.compare = true;
  options.allow_overlap = config.allow_overlap;
  options.dedupe = config.dedupe;
  options.vocab_size = vocab_size;
  options.threads = static_cast<int>(config.threads.value_or(std::max(1u, std::thread::hardware_concurrency())));
  return options;
}

PlanOptions plan_options(const TrainConfig& config) {
  PlanOptions options;
  options.sequence_len = config.sequence_len;
  options.sample_packing = config.sample_packing;
  options.pad_to_sequence_len = config.pad_to_sequence_len;
  options.micro_batch_size = config.micro_batch_size;
  options.gradient_accumulation_steps = config.gradient_accumulation_steps;
  options.num_epochs = config.num_epochs;
  options.max_steps = config.max_steps;
  options.compat = config.compat == CompatMode::kAxolotl2024;
  options.axolotl_step_estimate = config.axolotl_step_estimate;
  options.seed = static_cast<std::uint64_t>(config.seed);
  return options;
}

}  // namespace shori
