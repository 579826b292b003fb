#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "shori/data/ledger.h"
#include "shori/util/json_text.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

void add_counts(Json& json, const LedgerCounts& counts) {
  json["bytes_in"] = counts.bytes_in;
  json["bytes_samples"] = counts.bytes_samples;
  json["bytes_between"] = counts.bytes_between;
  json["bytes_text"] = counts.bytes_text;
  json["conversations"] = counts.conversations;
  json["unique"] = counts.unique;
  json["tokens_in"] = counts.tokens_in;
  json["tokens_repeated"] = counts.tokens_repeated;
  json["repeated_blocks"] = counts.repeated_blocks;
  json["repeated_prefixes"] = counts.repeated_prefixes;
  json["repeated_bos"] = counts.repeated_bos;
  json["repeated_eos"] = counts.repeated_eos;
  json["tokens_dropped"] = counts.tokens_dropped();
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule)
    json[concat("dropped_", drop_rule_name(static_cast<DropRule>(rule)))] = counts.dropped[rule];
  json["tokens_held_out"] = counts.tokens_held_out;
  json["tokens_packed"] = counts.tokens_packed;
  json["samples"] = counts.samples;
  json["targets"] = counts.targets;
  json["masked"] = counts.masked;
  json["first_tokens"] = counts.first_tokens;
}

Json items_json(const std::vector<LedgerItem>& items) {
  Json list = Json::array();
  for (const LedgerItem& item : items) list.push_back({{"conversation", item.location}, {"tokens", item.tokens}});
  return list;
}

Json file_json(const std::string& path, const FileLedger& file) {
  Json json = {{"path", path}};
  add_counts(json, file.counts);
  Json& lists = json["lists"];
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule)
    lists[std::string(drop_rule_name(static_cast<DropRule>(rule)))] = items_json(file.dropped[rule]);
  lists["split"] = items_json(file.split);
  lists["held_out"] = items_json(file.held_out);
  return json;
}

Json epochs_json(const std::vector<EpochLedger>& epochs) {
  Json list = Json::array();
  for (const EpochLedger& epoch : epochs)
    list.push_back(
        {{"packs", epoch.packs}, {"padding", epoch.padding}, {"targets", epoch.targets}, {"fill", epoch.fill}});
  return list;
}

// Two lists of equal length.
Json message_lengths_json(const std::map<std::int64_t, std::int64_t>& lengths) {
  Json tokens = Json::array(), messages = Json::array();
  for (const auto& [length, count] : lengths) {
    tokens.push_back(length);
    messages.push_back(count);
  }
  return {{"tokens", std::move(tokens)}, {"messages", std::move(messages)}};
}

std::string count_of(std::int64_t number, std::string_view singular) {
  return with_commas(number) + " " + std::string(singular) + (number == 1 ? "" : "s");
}

// Whole tenths of a percent, so that no locale or rounding mode shows.
std::string percent(double share) {
  const auto tenths = static_cast<std::int64_t>(std::floor(share * 1000 + 0.5));
  return concat(tenths / 10, '.', tenths % 10, " %");
}

// "dropped, overlong: 12,345 tokens of 3 conversations: a.jsonl:3 (4,115), ..."
std::string list_line(const std::string& title, const std::vector<LedgerItem>& items, std::size_t listed) {
  if (items.empty()) return "";
  std::int64_t tokens = 0;
  for (const LedgerItem& item : items) tokens += item.tokens;
  std::string line = title + ": " + count_of(tokens, "token") + " of " +
                     count_of(static_cast<std::int64_t>(items.size()), "conversation") + ": ";
  const std::size_t shown = std::min(items.size(), listed);
  for (std::size_t i = 0; i < shown; ++i) {
    line += (i == 0 ? "" : ", ") + escape_for_log(items[i].location) + " (" + with_commas(items[i].tokens) + ")";
  }
  return line + (items.size() > shown ? ", ...\n" : "\n");
}

template <typename Select>
std::vector<LedgerItem> gather(const std::vector<FileLedger>& files, Select select) {
  std::vector<LedgerItem> all;
  for (const FileLedger& file : files) all.insert(all.end(), select(file).begin(), select(file).end());
  return all;
}

std::string epoch_line(const Ledger& ledger) {
  const EpochLedger& epoch = ledger.epochs.front();
  return "an epoch: " + count_of(epoch.packs, "pack") + ", " + percent(epoch.fill) + " full, " +
         count_of(epoch.padding, "padding id") + "; longest sample " + with_commas(ledger.longest_sample) + " of " +
         with_commas(ledger.sequence_len) + "\n";
}

}  // namespace

std::string Ledger::to_json() const {
  Json json = {{"sequence_len", sequence_len}, {"longest_sample", longest_sample}, {"compat", compat}};
  add_counts(json["total"], total);
  json["epochs"] = epochs_json(epochs);
  json["run"] = {{"steps", steps}, {"tokens", tokens_of_run}, {"targets", targets_of_run}};
  json["files"] = Json::array();
  for (std::size_t i = 0; i < files.size(); ++i) json["files"].push_back(file_json(paths[i], files[i]));
  if (!message_lengths.empty()) json["message_lengths"] = message_lengths_json(message_lengths);
  return json_text(json, 2) + "\n";
}

std::string Ledger::to_text(std::size_t listed) const {
  std::string text = "data: " + count_of(total.conversations, "conversation") + " in " +
                     count_of(static_cast<std::int64_t>(files.size()), "file") + ", " +
                     count_of(total.tokens_in, "token") + "\n";
  text += "trained: " + count_of(total.samples, "sample") + ", " + count_of(total.tokens_packed, "token") + " = " +
          count_of(total.targets, "target") + " + " + with_commas(total.masked) + " masked + " +
          with_commas(total.first_tokens) + " first\n";
  text += epoch_line(*this);
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    text +=
        list_line("dropped, " + std::string(drop_rule_name(static_cast<DropRule>(rule))),
                  gather(files, [rule](const FileLedger& file) -> const auto& { return file.dropped[rule]; }), listed);
  }
  text += list_line("repeated by splitting",
                    gather(files, [](const FileLedger& file) -> const auto& { return file.split; }), listed);
  text +=
      list_line("held out", gather(files, [](const FileLedger& file) -> const auto& { return file.held_out; }), listed);
  return text;
}

}  // namespace shori
