#include "shori/data/data_options.h"

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

LengthBuckets length_buckets(const BlockmlConfig& config) { return {config.length_buckets, config.length_unit}; }

// One name a line, in lower case; empty lines do not count.
std::unordered_set<std::string> read_usernames(const std::string& path) {
  constexpr std::uint64_t kMaxBytes = 16u << 20;
  std::unordered_set<std::string> names;
  const std::string text = read_whole_file(InputFile::open(path, "E0315"), kMaxBytes, "E0317");
  if (const auto bad = find_invalid_utf8(text)) {
    const TextPosition at = position_of(text.substr(0, *bad), *bad);
    throw Error(Diagnostic("E0304", "the file of names is not UTF-8").at(path, at.line, at.column));
  }
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string name = lower_ascii(trim(std::string_view(text).substr(begin, end - begin)));
    if (!name.empty()) names.insert(std::move(name));
    begin = end + 1;
  }
  return names;
}

}  // namespace

std::shared_ptr<const LintOptions> lint_options(const TrainConfig& config, bool errors_only) {
  auto options = std::make_shared<LintOptions>();
  options->buckets = length_buckets(config.blockml);
  options->levels = config.lint.levels;
  if (!config.lint.usernames.empty()) options->usernames = read_usernames(config.lint.resolved_usernames);
  for (const std::string& host : config.lint.internal_hosts) options->internal_hosts.push_back(lower_ascii(host));
  options->errors_only = errors_only;
  return options;
}

DataOptions data_options(const TrainConfig& config, std::int64_t vocab_size) {
  DataOptions options;
  options.sequence_len = config.sequence_len;
  options.overlong = config.excess_length_strategy;
  options.train_on_inputs = config.train_on_inputs;
  options.roles_to_train = config.roles_to_train;
  options.train_on_eos = config.train_on_eos == TrainOnEos::kAll;
  options.train_on_speaker = config.blockml.train_on_speaker;
  options.bos = config.blockml.bos;
  options.eos = config.blockml.eos;
  options.repeat_scenario = config.blockml.repeat_scenario;
  options.default_length = config.blockml.default_length;
  options.length_buckets = length_buckets(config.blockml);
  options.lint = lint_options(config, true);
  options.compat = config.compat == CompatMode::kAxolotl2024;
  options.val_set_size = config.val_set_size;
  options.skip_samples = config.skip_samples;
  options.compare = true;
  options.allow_overlap = config.allow_overlap;
  options.dedupe = config.dedupe;
  options.vocab_size = vocab_size;
  options.threads = static_cast<int>(config.threads.value_or(usable_cores()));
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
