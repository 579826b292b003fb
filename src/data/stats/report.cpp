// The statistics as text.
#include <algorithm>
#include <string>
#include <utility>

#include "shori/data/corpus_stats.h"
#include "shori/util/byte_size.h"
#include "shori/util/math.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/data/stats/table.h"

namespace shori {
namespace {

constexpr std::int64_t kBarWidth = 50;
constexpr std::int64_t kShortMessage = 300;  // the card: most messages are below 300 tokens
constexpr std::pair<std::int64_t, const char*> kQuantiles[] = {{5, "5 %"},   {25, "25 %"}, {50, "50 %"}, {75, "75 %"},
                                                               {90, "90 %"}, {95, "95 %"}, {99, "99 %"}};

std::string histogram_text(const LengthDistribution& lengths) {
  const auto bins = lengths.histogram();
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(bins.begin(), bins.end()));
  std::string text;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    const bool last = i + 1 == bins.size();
    const std::string range =
        padded(concat(from), 3) + (last ? "+   " : "-" + padded(concat(from + LengthDistribution::kBin - 1), 3));
    text += "  " + range + "  " + padded(with_commas(bins[i]), with_commas(most).size());
    const auto bar = static_cast<std::size_t>(ceil_div(bins[i] * kBarWidth, most));
    text += (bar > 0 ? " " + std::string(bar, '#') : "") + "\n";
  }
  return text;
}

std::string quantiles_of(const LengthDistribution& lengths) {
  std::string text = "  minimum " + with_commas(lengths.quantile(0, 1));
  for (const auto& [percent, name] : kQuantiles)
    text += ", " + std::string(name) + " " + with_commas(lengths.quantile(percent, 100));
  return text + ", maximum " + with_commas(lengths.quantile(1, 1)) + "\n";
}

std::string ratio_or_dash(std::int64_t numerator, std::int64_t denominator, int digits) {
  return denominator == 0 ? "-" : ratio_text(numerator, denominator, digits);
}

}  // namespace

std::string CorpusStats::card_text() const {
  return "Total conversations: " + with_commas(conversations_) +                  //
         "\nUser message count: " + with_commas(messages_) + " messages" +        //
         "\nTotal unique tokens: " + with_commas(unique_tokens_) + " tokens" +    //
         "\nLongest conversation: " + with_commas(longest_sample_) + " tokens" +  //
         "\nSize of the training data: " + ratio_text(bytes_, 1'000'000, 1) + " MB\n";
}

std::string CorpusStats::overview_text() const {
  return "Conversations: " + with_commas(conversations_) +                              //
         "\nMessages: " + with_commas(messages_) +                                      //
         "\nTokens: " + with_commas(unique_tokens_) +                                   //
         "\nLongest conversation: " + with_commas(longest_conversation_) + " tokens" +  //
         "\nSize: " + format_bytes(static_cast<std::uint64_t>(bytes_)) + "\n";
}

std::string CorpusStats::figures_text() const {
  return "Samples: " + with_commas(samples_) + "\nLongest sample: " + with_commas(longest_sample_) + " of " +
         with_commas(sequence_len_) + " tokens, " + with_commas(sequence_len_ - longest_sample_) + " spare" +
         "\nTokens per message: " + ratio_or_dash(unique_tokens_, messages_, 1) +
         "\nTokens per conversation: " + ratio_or_dash(unique_tokens_, conversations_, 1) +
         "\nMessages per conversation: " + ratio_or_dash(messages_, conversations_, 1) +
         "\nBytes per token: " + ratio_or_dash(bytes_, unique_tokens_, 2) +
         "\n[INST] segments: " + with_commas(blocks_[static_cast<std::size_t>(Role::kInst)]) +
         "\nEmoji: " + with_commas(emoji_) + "\n";
}

StatsTable CorpusStats::hint_table() const {
  StatsTable table;
  for (std::size_t i = 1; i < hints_.size(); ++i) {
    table.row({std::string(length_name(static_cast<LengthHint>(i))), with_commas(hints_[i])});
  }
  table.row({"without a hint", with_commas(hints_[0])});
  return table;
}

StatsTable CorpusStats::role_table() const {
  StatsTable table;
  table.row({"", "blocks", "tokens of the samples"});
  for (std::size_t i = 0; i < kRoleCount; ++i) {
    table.row({std::string(role_name(static_cast<Role>(i))), with_commas(blocks_[i]), with_commas(role_tokens_[i])});
  }
  return table;
}

StatsTable CorpusStats::category_table() const {
  StatsTable table;
  table.row({"", "conversations", "messages", "tokens"});
  for (const auto& [name, group] : categories_) {
    table.row({name.empty() ? "(none)" : name, with_commas(group.conversations), with_commas(group.messages),
               with_commas(group.tokens)});
  }
  return table;
}

StatsTable CorpusStats::character_table(std::size_t most) const {
  std::vector<std::pair<std::string, GroupStats>> characters(characters_.begin(), characters_.end());
  std::stable_sort(characters.begin(), characters.end(),
                   [](const auto& a, const auto& b) { return a.second.messages > b.second.messages; });
  const std::size_t listed = std::min(most, characters.size());
  StatsTable table;
  table.row({"", "conversations", "messages", "tokens of the texts"});
  for (std::size_t i = 0; i < listed; ++i) {
    const auto& [name, group] = characters[i];
    table.row({name.empty() ? "(narration)" : name, with_commas(group.conversations), with_commas(group.messages),
               with_commas(group.tokens)});
  }
  if (listed < characters.size())
    table.row({"and " + with_commas(static_cast<std::int64_t>(characters.size() - listed)) + " more"});
  return table;
}

std::string CorpusStats::hints_text() const { return "Messages by length hint:\n" + hint_table().text(); }
std::string CorpusStats::role_text() const { return "By role:\n" + role_table().text(); }
std::string CorpusStats::category_text() const { return "By category:\n" + category_table().text(); }
std::string CorpusStats::character_text(std::size_t most) const {
  return "By character:\n" + character_table(most).text();
}

std::string CorpusStats::text(std::size_t characters) const {
  return overview_text() + "\n" + figures_text() + "\n" + role_text() + "\n" + category_text() + "\n" +
         character_text(characters) + "\n" + hints_text() + "\n" + message_lengths_text();
}

std::string CorpusStats::message_lengths_text() const {
  const auto count = static_cast<std::int64_t>(lengths_.count());
  return "Message lengths in tokens:\n" + histogram_text(lengths_) + quantiles_of(lengths_) + "  mean " +
         ratio_or_dash(lengths_.total(), count, 1) + concat("\nMessages below ", kShortMessage, " tokens: ") +
         percent_text(lengths_.count_below(kShortMessage), count) + " %\n";
}

std::string CorpusStats::quantiles_text() const { return quantiles_of(lengths_); }

std::string CorpusStats::lengths_text() const {
  const std::array<std::int64_t, 8> bounds = equal_count_bounds();
  std::string list;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    list += concat(i == 0 ? "" : ", ", length_name(static_cast<LengthHint>(i + 1)), ": ", bounds[i]);
  }
  return "Message lengths in " + std::string(word_of(unit_)) + ":\n" + histogram_text(measured_) +
         quantiles_of(measured_) + "\n" + hints_text() +
         "\nBounds that give the nine words equal counts:\nblockml:\n  length_unit: " + std::string(word_of(unit_)) +
         "\n  length_buckets: {" + list + "}\n";
}

}  // namespace shori
