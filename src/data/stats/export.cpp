// The statistics as JSON.
#include <nlohmann/json.hpp>
#include <string>

#include "shori/data/corpus_stats.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? 0.0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

Json lengths_json(const LengthDistribution& lengths) {
  Json json = {{"count", lengths.count()}, {"total", lengths.total()}, {"min", lengths.quantile(0, 1)}};
  for (const std::int64_t percent : {5, 25, 50, 75, 90, 95, 99})
    json[concat("p", percent)] = lengths.quantile(percent, 100);
  json["max"] = lengths.quantile(1, 1);
  json["below_300"] = lengths.count_below(300);
  Json histogram = Json::array();
  const auto bins = lengths.histogram();
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    const bool is_last = i + 1 == bins.size();
    histogram.push_back(
        {{"from", from}, {"below", is_last ? Json() : Json(from + LengthDistribution::kBin)}, {"count", bins[i]}});
  }
  json["histogram"] = std::move(histogram);
  return json;
}

template <typename Groups>
Json groups_json(const char* name_key, const Groups& groups) {
  Json list = Json::array();
  for (const auto& [name, group] : groups)
    list.push_back({{name_key, name},
                    {"conversations", group.conversations},
                    {"messages", group.messages},
                    {"tokens", group.tokens}});
  return list;
}

}  // namespace

std::string CorpusStats::json(const Ledger* ledger) const {
  Json roles = Json::array(), hints = Json::object();
  for (std::size_t i = 0; i < kRoleCount; ++i)
    roles.push_back(
        {{"role", role_name(static_cast<Role>(i))}, {"blocks", blocks_[i]}, {"sample_tokens", role_tokens_[i]}});
  for (std::size_t i = 0; i < hints_.size(); ++i) hints[std::string(kWords<LengthHint>[i])] = hints_[i];
  Json json = {{"conversations", conversations_},
               {"messages", messages_},
               {"unique_tokens", unique_tokens_},
               {"longest_sample", longest_sample_},
               {"size_bytes", bytes_},
               {"samples", samples_},
               {"sequence_len", sequence_len_},
               {"spare_tokens", sequence_len_ - longest_sample_},
               {"tokens_per_message", ratio(unique_tokens_, messages_)},
               {"tokens_per_conversation", ratio(unique_tokens_, conversations_)},
               {"messages_per_conversation", ratio(messages_, conversations_)},
               {"bytes_per_token", ratio(bytes_, unique_tokens_)},
               {"emoji", emoji_},
               {"roles", std::move(roles)},
               {"hints", std::move(hints)},
               {"categories", groups_json("category", categories_)},
               {"characters", groups_json("character", characters_)},
               {"message_lengths", lengths_json(lengths_)},
               {"length_unit", word_of(unit_)},
               {"equal_count_bounds", equal_count_bounds()}};
  if (ledger != nullptr) {
    std::string text = ledger->to_json();
    text.pop_back();  // its newline
    json["ledger"] = raw_json(text);
  }
  return json_text(json, 2) + "\n";
}

}  // namespace shori
