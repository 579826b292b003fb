#include "shori/data/ledger.h"

#include <algorithm>

#include "shori/data/dataset.h"
#include "shori/data/pack_plan.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

void check_identities(const LedgerCounts& counts, const std::string& name) {
  SHORI_CHECK(counts.bytes_in == counts.bytes_samples + counts.bytes_between, name + ": bytes do not add up");
  SHORI_CHECK(counts.tokens_repeated ==
                  counts.repeated_blocks + counts.repeated_prefixes + counts.repeated_bos + counts.repeated_eos,
              name + ": repeated tokens do not add up");
  SHORI_CHECK(counts.tokens_in + counts.tokens_repeated ==
                  counts.tokens_packed + counts.tokens_dropped() + counts.tokens_held_out,
              concat(name, ": ", counts.tokens_in, " + ", counts.tokens_repeated, " tokens, but ", counts.tokens_packed,
                     " packed, ", counts.tokens_dropped(), " dropped, ", counts.tokens_held_out, " held out"));
  SHORI_CHECK(counts.tokens_packed == counts.targets + counts.masked + counts.first_tokens && counts.masked >= 0,
              name + ": targets do not add up");
}

void check_lists(const FileLedger& file, const std::string& name) {
  const auto sum = [](const std::vector<LedgerItem>& items) {
    std::int64_t tokens = 0;
    for (const LedgerItem& item : items) tokens += item.tokens;
    return tokens;
  };
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    SHORI_CHECK(sum(file.dropped[rule]) == file.counts.dropped[rule],
                name + ": a list of dropped conversations has a hole");
  }
  SHORI_CHECK(sum(file.held_out) == file.counts.tokens_held_out,
              name + ": the list of held-out conversations has a hole");
  SHORI_CHECK(sum(file.split) == file.counts.tokens_repeated, name + ": the list of split conversations has a hole");
}

// Targets and first tokens, as the rows of the first epoch decide.
void count_targets(Ledger& ledger, const Dataset& dataset, const PackPlan& plan) {
  const PlanEpoch& epoch = plan.epochs.front();
  for (std::size_t row = epoch.first_row; row < epoch.first_row + epoch.row_count; ++row) {
    bool first_of_row = true;
    for (const std::uint32_t index : plan.row(row)) {
      const SampleCost& cost = plan.samples[index];
      LedgerCounts& counts = ledger.files[dataset.conversations[dataset.train[index].conversation].file].counts;
      const bool predicted = plan.options.compat && !first_of_row;
      counts.targets += cost.inner_targets + (predicted && cost.first_label ? 1 : 0);
      counts.first_tokens += predicted ? 0 : 1;
      first_of_row = false;
    }
  }
  for (FileLedger& file : ledger.files) {
    file.counts.masked = file.counts.tokens_packed - file.counts.targets - file.counts.first_tokens;
  }
}

EpochLedger count_epoch(const PackPlan& plan, const PlanEpoch& epoch) {
  EpochLedger result;
  result.packs = static_cast<std::int64_t>(epoch.row_count);
  std::int64_t tokens = 0;
  for (std::size_t row = epoch.first_row; row < epoch.first_row + epoch.row_count; ++row) {
    const std::int64_t in_row = plan.row_tokens(row);
    tokens += in_row;
    result.targets += plan.row_targets(row);
    result.padding += padded_length(in_row, plan.options.row_capacity(), plan.options.pad_to_sequence_len) - in_row;
  }
  result.fill = static_cast<double>(tokens) / static_cast<double>(result.packs * plan.options.row_capacity());
  return result;
}

void count_run(Ledger& ledger, const PackPlan& plan) {
  for (const PlanEpoch& epoch : plan.epochs) ledger.epochs.push_back(count_epoch(plan, epoch));
  for (const PlanStep& step : plan.steps) {
    ledger.tokens_of_run += step.tokens;
    ledger.targets_of_run += step.targets;
  }
  ledger.steps = static_cast<std::int64_t>(plan.steps.size());
  SHORI_CHECK(ledger.epochs.front().targets == ledger.total.targets,
              "the plan and the data disagree on the number of targets");
  SHORI_CHECK(plan.unused_micro_batches() > 0 ||
                  ledger.tokens_of_run == ledger.total.tokens_packed * static_cast<std::int64_t>(plan.epochs.size()),
              "the steps do not train every token of every epoch");
}

std::int64_t longest_sample_of(const Dataset& dataset) {
  std::size_t longest = 0;
  for (const Sample& sample : dataset.train) longest = std::max(longest, sample.ids.size());
  for (const HeldOutSet& set : dataset.held_out) {
    for (const Sample& sample : set.samples) longest = std::max(longest, sample.ids.size());
  }
  return static_cast<std::int64_t>(longest);
}

}  // namespace

std::string_view drop_rule_name(DropRule rule) {
  constexpr std::array<std::string_view, kDropRuleCount> names = {"overlong", "truncated", "untrained",
                                                                  "skipped",  "duplicate", "rating"};
  return names[static_cast<std::size_t>(rule)];
}

std::int64_t LedgerCounts::tokens_dropped() const {
  std::int64_t tokens = 0;
  for (const std::int64_t count : dropped) tokens += count;
  return tokens;
}

LedgerCounts& LedgerCounts::operator+=(const LedgerCounts& other) {
  bytes_in += other.bytes_in;
  bytes_samples += other.bytes_samples;
  bytes_between += other.bytes_between;
  bytes_text += other.bytes_text;
  conversations += other.conversations;
  unique += other.unique;
  tokens_in += other.tokens_in;
  tokens_repeated += other.tokens_repeated;
  repeated_blocks += other.repeated_blocks;
  repeated_prefixes += other.repeated_prefixes;
  repeated_bos += other.repeated_bos;
  repeated_eos += other.repeated_eos;
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) dropped[rule] += other.dropped[rule];
  tokens_held_out += other.tokens_held_out;
  tokens_packed += other.tokens_packed;
  samples += other.samples;
  targets += other.targets;
  masked += other.masked;
  first_tokens += other.first_tokens;
  return *this;
}

Ledger build_ledger(const Dataset& dataset, const PackPlan& plan) {
  SHORI_CHECK(!plan.epochs.empty(), "a ledger needs an epoch");
  SHORI_CHECK(plan.samples.size() == dataset.train.size(), "the plan was made of other samples");
  Ledger ledger;
  ledger.files = dataset.file_ledgers;
  ledger.sequence_len = plan.options.sequence_len;
  ledger.compat = plan.options.compat;
  count_targets(ledger, dataset, plan);
  for (std::size_t i = 0; i < ledger.files.size(); ++i) {
    ledger.paths.push_back(dataset.files[i].path);
    check_identities(ledger.files[i].counts, ledger.paths.back());
    check_lists(ledger.files[i], ledger.paths.back());
    ledger.total += ledger.files[i].counts;
  }
  check_identities(ledger.total, "all files");
  SHORI_CHECK(ledger.total.first_tokens ==
                  (ledger.compat ? static_cast<std::int64_t>(plan.epochs.front().row_count) : ledger.total.samples),
              "first tokens do not add up");
  count_run(ledger, plan);
  ledger.longest_sample = longest_sample_of(dataset);
  for (const std::uint32_t length : dataset.message_lengths) ++ledger.message_lengths[length];
  return ledger;
}

}  // namespace shori
