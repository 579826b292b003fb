// Every token accounted for: exact counts for each file and in total, whose identities are checked.
//
//   bytes_in                    = bytes_samples + bytes_between
//   tokens_in + tokens_repeated = tokens_packed + tokens_dropped + tokens_held_out
//   tokens_packed               = targets + masked + first_tokens                      (one epoch)
//   first_tokens                = samples            (compat axolotl-2024: packs)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace shori {

struct Dataset;
struct PackPlan;

// Why tokens were left out.
enum class DropRule { kOverlong, kTruncated, kUntrained, kSkipped, kDuplicate, kRating };
inline constexpr std::size_t kDropRuleCount = 6;
// "overlong", "truncated", "untrained", "skipped", "duplicate" or "rating".
std::string_view drop_rule_name(DropRule rule);

struct LedgerCounts {
  std::int64_t bytes_in = 0;         // file sizes
  std::int64_t bytes_samples = 0;    // of whole files or JSONL lines
  std::int64_t bytes_between = 0;    // newlines between lines, and what normalizing the text removed
  std::int64_t bytes_text = 0;       // of the canonical texts, UTF-8
  std::int64_t conversations = 0;    // before splitting
  std::int64_t unique = 0;           // ids of all conversations, without BOS and EOS
  std::int64_t tokens_in = 0;        // unique, and BOS and EOS of each conversation as the policy says
  std::int64_t tokens_repeated = 0;  // what splitting adds: the sum of the next four
  std::int64_t repeated_blocks = 0;
  std::int64_t repeated_prefixes = 0;  // dummy prefix of parts 2..n
  std::int64_t repeated_bos = 0;
  std::int64_t repeated_eos = 0;
  std::array<std::int64_t, kDropRuleCount> dropped{};
  std::int64_t tokens_held_out = 0;
  std::int64_t tokens_packed = 0;  // sum of trained sample lengths, one epoch
  std::int64_t samples = 0;        // trained, one epoch
  std::int64_t targets = 0;        // predicted labels of the first epoch
  std::int64_t masked = 0;         // labels -100 that a token precedes
  std::int64_t first_tokens = 0;   // ids that no token precedes

  std::int64_t tokens_dropped() const;
  LedgerCounts& operator+=(const LedgerCounts& other);
};

// One conversation that a count of the ledger includes: "path" or "path:line", and its share of the count.
struct LedgerItem {
  std::string location;
  std::int64_t tokens = 0;
};

struct FileLedger {
  LedgerCounts counts;
  std::array<std::vector<LedgerItem>, kDropRuleCount> dropped;
  std::vector<LedgerItem> split;  // tokens that splitting added
  std::vector<LedgerItem> held_out;
};

struct EpochLedger {
  std::int64_t packs = 0;
  std::int64_t padding = 0;  // ids that only fill up rows
  std::int64_t targets = 0;
  double fill = 0;  // tokens_packed / (packs * capacity)
};

struct Ledger {
  std::vector<std::string> paths;  // of the files
  std::vector<FileLedger> files;
  LedgerCounts total;
  std::vector<EpochLedger> epochs;
  std::int64_t tokens_of_run = 0;  // in all steps of the plan
  std::int64_t targets_of_run = 0;
  std::int64_t steps = 0;
  std::int64_t longest_sample = 0;  // ids; of train and held-out samples
  std::int64_t sequence_len = 0;
  bool compat = false;
  std::map<std::int64_t, std::int64_t> message_lengths;  // tokens of a message's text -> messages that are trained

  std::string to_json() const;  // data_report.json: 2 spaces indent, ends with a newline
  // A summary in lines, each ended by a newline; a line names up to `listed` of the conversations that it counts.
  std::string to_text(std::size_t listed = 5) const;
};

// Joins the counts of loading with those of the pack plan. An identity that does not hold is an internal error (E0001).
Ledger build_ledger(const Dataset& dataset, const PackPlan& plan);

}  // namespace shori
