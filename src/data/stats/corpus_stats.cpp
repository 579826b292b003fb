#include "shori/data/corpus_stats.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/math.h"
#include "src/data/blockml/emoji.h"

namespace shori {
namespace {

template <typename Counts>
void add_each(Counts& into, const Counts& from) {
  for (std::size_t i = 0; i < into.size(); ++i) into[i] += from[i];
}

template <typename Groups>
void add_groups(Groups& into, const Groups& from) {
  for (const auto& [name, group] : from) {
    GroupStats& sum = into[name];
    sum.conversations += group.conversations;
    sum.messages += group.messages;
    sum.tokens += group.tokens;
  }
}

}  // namespace

void LengthDistribution::add(const LengthDistribution& other) {
  lengths_.insert(lengths_.end(), other.lengths_.begin(), other.lengths_.end());
}

void LengthDistribution::sort() { std::sort(lengths_.begin(), lengths_.end()); }

std::int64_t LengthDistribution::total() const {
  return std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0});
}

std::vector<std::int64_t> LengthDistribution::histogram(std::int64_t size, std::size_t bins) const {
  std::vector<std::int64_t> counts(bins);
  for (const std::int64_t length : lengths_) ++counts[std::min(static_cast<std::size_t>(length / size), bins - 1)];
  return counts;
}

std::int64_t LengthDistribution::quantile(std::int64_t numerator, std::int64_t denominator) const {
  if (lengths_.empty()) return 0;
  const std::int64_t product = numerator * static_cast<std::int64_t>(lengths_.size());
  const std::int64_t rank = std::max<std::int64_t>(1, ceil_div(product, denominator));
  return lengths_.at(static_cast<std::size_t>(rank - 1));
}

std::int64_t LengthDistribution::count_below(std::int64_t length) const {
  return std::lower_bound(lengths_.begin(), lengths_.end(), length) - lengths_.begin();
}

void CorpusStats::add(const ReadConversation& conversation) {
  files_.insert(conversation.source.file);
  ++conversations_;
  unique_tokens_ += conversation.unique;
  longest_conversation_ = std::max(longest_conversation_, conversation.unique);
  GroupStats& category = categories_[conversation.source.category];
  ++category.conversations;
  category.tokens += conversation.unique;
  if (conversation.blocks == nullptr) return;
  std::set<std::string_view> speakers;
  std::size_t message = 0;
  for (const Segment& segment : conversation.blocks->segments) {
    ++blocks_[static_cast<std::size_t>(segment.role)];
    emoji_ += count_emoji(segment.body);
    if (segment.role != Role::kMessage) continue;
    ++category.messages;
    add_message(segment, conversation.message_ids[message++], speakers);
  }
}

void CorpusStats::add_message(const Segment& message, std::int64_t tokens, std::set<std::string_view>& speakers) {
  ++messages_;
  ++hints_[static_cast<std::size_t>(message.hint)];
  lengths_.add(tokens);
  measured_.add(unit_ == LengthUnit::kTokens ? tokens : measure_message(message.body, unit_, nullptr));
  const std::optional<Speaker> speaker = find_speaker(message.body);
  const std::string_view name = speaker ? speaker->name : std::string_view();
  auto character = characters_.find(name);
  if (character == characters_.end()) character = characters_.emplace(std::string(name), GroupStats{}).first;
  ++character->second.messages;
  character->second.tokens += tokens;
  if (speakers.insert(name).second) ++character->second.conversations;
}

void CorpusStats::finish(const Dataset& dataset, std::int64_t sequence_len) {
  sequence_len_ = sequence_len;
  lengths_.sort();
  measured_.sort();
  for (const std::uint32_t file : files_) bytes_ += dataset.file_ledgers[file].counts.bytes_text;
  const auto add_samples = [&](const std::vector<Sample>& samples) {
    for (const Sample& sample : samples) {
      if (!files_.contains(dataset.conversations[sample.conversation].file)) continue;
      ++samples_;
      longest_sample_ = std::max(longest_sample_, static_cast<std::int64_t>(sample.ids.size()));
      for (const std::uint8_t role : sample.roles) ++role_tokens_[role];
    }
  };
  add_samples(dataset.train);
  for (const HeldOutSet& set : dataset.held_out) add_samples(set.samples);
}

void CorpusStats::merge(const CorpusStats& other) {
  conversations_ += other.conversations_;
  messages_ += other.messages_;
  unique_tokens_ += other.unique_tokens_;
  bytes_ += other.bytes_;
  emoji_ += other.emoji_;
  samples_ += other.samples_;
  longest_sample_ = std::max(longest_sample_, other.longest_sample_);
  longest_conversation_ = std::max(longest_conversation_, other.longest_conversation_);
  sequence_len_ = std::max(sequence_len_, other.sequence_len_);
  add_each(blocks_, other.blocks_);
  add_each(role_tokens_, other.role_tokens_);
  add_each(hints_, other.hints_);
  add_groups(categories_, other.categories_);
  add_groups(characters_, other.characters_);
  for (auto [into, from] : {std::pair{&lengths_, &other.lengths_}, std::pair{&measured_, &other.measured_}}) {
    into->add(*from);
    into->sort();
  }
}

std::array<std::int64_t, 8> CorpusStats::equal_count_bounds() const {
  std::array<std::int64_t, 8> bounds{};
  std::int64_t before = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] = std::max(before + 1, measured_.quantile(static_cast<std::int64_t>(i) + 1, 9));
    before = bounds[i];
  }
  return bounds;
}

}  // namespace shori
