#include <algorithm>
#include <cmath>

#include "shori/data/ledger.h"
#include "shori/util/json.h"
#include "shori/util/number_text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

void write_counts(JsonWriter& json, const LedgerCounts& counts) {
  json.field("bytes_in", counts.bytes_in);
  json.field("bytes_samples", counts.bytes_samples);
  json.field("bytes_between", counts.bytes_between);
  json.field("bytes_text", counts.bytes_text);
  json.field("conversations", counts.conversations);
  json.field("unique", counts.unique);
  json.field("tokens_in", counts.tokens_in);
  json.field("tokens_repeated", counts.tokens_repeated);
  json.field("repeated_blocks", counts.repeated_blocks);
  json.field("repeated_prefixes", counts.repeated_prefixes);
  json.field("repeated_bos", counts.repeated_bos);
  json.field("repeated_eos", counts.repeated_eos);
  json.field("tokens_dropped", counts.tokens_dropped());
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    json.field("dropped_" + std::string(drop_rule_name(static_cast<DropRule>(rule))), counts.dropped[rule]);
  }
  json.field("tokens_held_out", counts.tokens_held_out);
  json.field("tokens_packed", counts.tokens_packed);
  json.field("samples", counts.samples);
  json.field("targets", counts.targets);
  json.field("masked", counts.masked);
  json.field("first_tokens", counts.first_tokens);
}

void write_items(JsonWriter& json, std::string_view name, const std::vector<LedgerItem>& items) {
  json.key(name).begin_array();
  for (const LedgerItem& item : items) {
    json.begin_object().field("conversation", item.place).field("tokens", item.tokens).end_object();
  }
  json.end_array();
}

void write_file(JsonWriter& json, const std::string& path, const FileLedger& file) {
  json.begin_object().field("path", path);
  write_counts(json, file.counts);
  json.key("lists").begin_object();
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    write_items(json, drop_rule_name(static_cast<DropRule>(rule)), file.dropped[rule]);
  }
  write_items(json, "split", file.split);
  write_items(json, "held_out", file.held_out);
  json.end_object().end_object();
}

void write_epochs(JsonWriter& json, const std::vector<EpochLedger>& epochs) {
  json.key("epochs").begin_array();
  for (const EpochLedger& epoch : epochs) {
    json.begin_object().field("packs", epoch.packs).field("padding", epoch.padding).field("targets", epoch.targets);
    json.field("fill", epoch.fill).end_object();
  }
  json.end_array();
}

std::string count_of(std::int64_t number, std::string_view singular) {
  return with_commas(number) + " " + std::string(singular) + (number == 1 ? "" : "s");
}

// Whole tenths of a percent, so that no locale or rounding mode shows.
std::string percent(double share) {
  const auto tenths = static_cast<std::int64_t>(std::floor(share * 1000 + 0.5));
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " %";
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
    line += (i == 0 ? "" : ", ") + escape_for_log(items[i].place) + " (" + with_commas(items[i].tokens) + ")";
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
  JsonWriter json(2);
  json.begin_object()
      .field("sequence_len", sequence_len)
      .field("longest_sample", longest_sample)
      .field("compat", compat);
  json.key("total").begin_object();
  write_counts(json, total);
  json.end_object();
  write_epochs(json, epochs);
  json.key("run").begin_object().field("steps", steps).field("tokens", tokens_of_run).field("targets", targets_of_run);
  json.end_object();
  json.key("files").begin_array();
  for (std::size_t i = 0; i < files.size(); ++i) write_file(json, paths[i], files[i]);
  json.end_array().end_object();
  return json.take() + "\n";
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
