// Statistics of a collection of conversations, defined as in the published card of ShoriRP.
//
// Conversations are counted before splitting. Messages are their `message` blocks, without repeated blocks, `ooc` and
// `[INST]`. The length of a message is the number of tokens of its text, without the speaker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/dataset.h"
#include "shori/data/ledger.h"
#include "shori/data/length_buckets.h"

namespace shori {

// Sorted lengths.
class LengthDistribution {
 public:
  static constexpr std::int64_t kBin = 20, kLastBin = 600;
  static constexpr std::size_t kBins = kLastBin / kBin + 1;  // the last has the lengths from kLastBin on

  void add(std::int64_t length) { lengths_.push_back(length); }
  void add(const LengthDistribution& other);
  void sort();  // must be called before the functions below

  std::size_t count() const { return lengths_.size(); }
  std::int64_t total() const;
  // Bin i: size * i <= length < size * (i + 1); the last has all lengths from its first on.
  std::vector<std::int64_t> histogram(std::int64_t size = kBin, std::size_t bins = kBins) const;
  // Nearest rank: value number ceil(numerator * n / denominator), from 1; the smallest for 0. 0 if there is no value.
  std::int64_t quantile(std::int64_t numerator, std::int64_t denominator) const;
  std::int64_t count_below(std::int64_t length) const;

 private:
  std::vector<std::int64_t> lengths_;
};

// A histogram of sorted lengths of messages with marks of its quantiles, as <svg> whose ids begin with `id`.
std::string lengths_picture(const LengthDistribution& lengths, std::string_view id);

class StatsTable;

struct GroupStats {
  std::int64_t conversations = 0, messages = 0;
  std::int64_t tokens = 0;  // of a category: unique tokens; of a character: of the texts of its messages
};

class CorpusStats {
 public:
  explicit CorpusStats(LengthUnit unit = LengthUnit::kTokens) : unit_(unit) {}

  void add(const ReadConversation& conversation);  // to be called from DataOptions::observe
  // Adds the samples that the conversations became, which are at most `sequence_len` ids, and the bytes of their texts.
  void finish(const Dataset& dataset, std::int64_t sequence_len);

  void merge(const CorpusStats& other);  // both are finished; sequence_len becomes the longer one
  LengthUnit unit() const { return unit_; }
  std::int64_t messages() const { return messages_; }

  // The five lines of the published card, in its words; each ends with a newline.
  std::string card_text() const;
  // The same figures in plain words, and the longest conversation before splitting.
  std::string overview_text() const;
  // overview_text(), derived figures, counts, and the lengths of messages. Lists at most `characters` characters.
  std::string text(std::size_t characters) const;
  std::string message_lengths_text() const;  // histogram and quantiles in tokens
  std::string lengths_text() const;  // histogram in the chosen unit, hints against buckets, bounds of equal counts
  std::string category_text() const, role_text() const, character_text(std::size_t most) const;
  std::string json(const Ledger* ledger) const;  // one object, 2 spaces indent, ends with a newline
  std::string svg() const;                       // histogram of the lengths of messages
  // All of this as the body of a page. Lists at most `characters` characters.
  std::string html(std::size_t characters) const;

  // The eight bounds (nano to huge) that give the nine words equal counts, as far as equal lengths allow; strictly
  // increasing.
  std::array<std::int64_t, 8> equal_count_bounds() const;

 private:
  void add_message(const Segment& message, std::int64_t tokens, std::set<std::string_view>& speakers);
  std::string figures_text() const, hints_text() const, quantiles_text() const;
  StatsTable role_table() const, category_table() const, hint_table() const;
  StatsTable character_table(std::size_t most) const;

  LengthUnit unit_;
  std::int64_t conversations_ = 0, messages_ = 0, unique_tokens_ = 0, bytes_ = 0, emoji_ = 0;
  std::int64_t samples_ = 0, longest_sample_ = 0, longest_conversation_ = 0, sequence_len_ = 0;
  std::array<std::int64_t, kRoleCount> blocks_{};
  std::array<std::int64_t, kTokenRoleCount> role_tokens_{};  // of the samples
  std::array<std::int64_t, 10> hints_{};                     // by LengthHint
  std::set<std::uint32_t> files_;
  std::map<std::string, GroupStats, std::less<>> categories_, characters_;  // "" : none, narration
  LengthDistribution lengths_;                                              // tokens
  LengthDistribution measured_;                                             // in unit_
};

}  // namespace shori
