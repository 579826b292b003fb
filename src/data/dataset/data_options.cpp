#include "shori/data/data_options.h"

#include <algorithm>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/threads.h"
#include "shori/util/utf8.h"

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

LengthBuckets length_buckets(const BlockmlConfig& config) {
  return {config.length_buckets.bounds, static_cast<LengthUnit>(config.length_unit)};
}

DefaultLength default_length(MessageLength length) {
  if (length == MessageLength::kAuto) return {true, LengthHint::kNone};
  return {false, static_cast<LengthHint>(length)};
}

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
    std::string name = text.substr(begin, end - begin);
    const std::size_t last = name.find_last_not_of(" \t\r");
    name.erase(last == std::string::npos ? 0 : last + 1);
    name.erase(0, std::min(name.find_first_not_of(" \t"), name.size()));
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (!name.empty()) names.insert(std::move(name));
    begin = end + 1;
  }
  return names;
}

}  // namespace

std::shared_ptr<const LintOptions> lint_options(const TrainConfig& config, bool errors_only) {
  auto options = std::make_shared<LintOptions>();
  options->buckets = length_buckets(config.blockml);
  for (std::size_t i = 0; i < kLintRules.size(); ++i) {
    const auto level = std::find(kLintLevels.begin(), kLintLevels.end(), config.lint.levels[i]);
    if (level != kLintLevels.end()) options->levels[i] = static_cast<LintLevel>(level - kLintLevels.begin());
  }
  if (!config.lint.usernames.empty()) options->usernames = read_usernames(config.lint.resolved_usernames);
  for (std::string host : config.lint.internal_hosts) {
    for (char& c : host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    options->internal_hosts.push_back(std::move(host));
  }
  options->errors_only = errors_only;
  return options;
}

std::vector<DataEntry> data_entries(const std::vector<DatasetEntry>& entries) {
  std::vector<DataEntry> result;
  for (const DatasetEntry& entry : entries)
    result.push_back({entry.path, entry.resolved_path, entry.type, entry.field, entry.category, entry.rating,
                      entry.tags_rating, entry.place});
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
  options.default_length = default_length(config.blockml.default_length);
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
