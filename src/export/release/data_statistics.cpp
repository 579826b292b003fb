#include "src/export/release/data_statistics.h"

#include <algorithm>
#include <set>

#include "shori/config/data_entry.h"
#include "shori/data/dataset.h"
#include "shori/data/tokenizer.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"

namespace shori {
namespace {

std::string text_of(const JsonValue& object, const char* key) {
  const JsonValue* value = object.find(key);
  return value ? value->text : "";
}

std::vector<DataEntry> entries_of(const StageRecord& stage) {
  std::vector<DataEntry> entries;
  const JsonValue* list = stage.config.find("datasets");
  if (list == nullptr) return entries;
  for (const JsonValue& item : list->items) {
    DataEntry entry;
    entry.resolved_path = text_of(item, "path");
    entry.path = file_name(entry.resolved_path);
    entry.type = text_of(item, "type");
    entry.field = text_of(item, "field");
    entry.category = text_of(item, "category");
    if (const JsonValue* rating = item.find("rating"))
      for (const JsonValue& word : rating->items) entry.rating.push_back(word.text);
    for (std::size_t i = 0; i < kRatings.size(); ++i)
      if (const JsonValue* tags = item.find(concat("tags_rating.", kRatings[i])))
        for (const JsonValue& tag : tags->items) entry.tags_rating[i].push_back(tag.text);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::int64_t sequence_len_of(const StageRecord& stage) {
  const JsonValue* value = stage.config.find("sequence_len");
  return value ? value->as_integer().value_or(2048) : 2048;
}

DataOptions options_of(const StageRecord& stage, const Tokenizer& tokenizer) {
  DataOptions options;
  options.sequence_len = sequence_len_of(stage);
  options.overlong = find_word<OverlongPolicy>(stage.value("excess_length_strategy")).value_or(OverlongPolicy::kSplit);
  options.train_on_inputs = true;
  options.bos = stage.value("blockml.bos") != "false";
  options.eos = find_word<EosRule>(stage.value("blockml.eos")).value_or(EosRule::kEnd);
  options.repeat_scenario = stage.value("blockml.repeat_scenario") == "true";
  options.compat = stage.value("compat") == word_of(CompatMode::kAxolotl2024);
  options.dedupe = stage.value("dedupe") == "true";
  options.allow_overlap = true;
  options.vocab_size = tokenizer.vocab_size();
  options.threads = static_cast<int>(usable_cores());
  return options;
}

// The files must be those of the training.
void check_files(const StageRecord& stage, const Dataset& data) {
  const std::set<std::string> recorded(stage.files.begin(), stage.files.end());
  for (const DataFile& file : data.files)
    if (!recorded.contains(file.sha256))
      throw Error(
          Diagnostic("E0508", concat("`", file.path, "` was changed since stage ", stage.name, " was trained")));
}

CorpusStats statistics_of(const StageRecord& stage, const Tokenizer& tokenizer) {
  CorpusStats stats;
  const std::vector<DataEntry> entries = entries_of(stage);
  Progress progress(2);
  DataOptions options = options_of(stage, tokenizer);
  options.observe = [&](const ReadConversation& conversation) { stats.add(conversation); };
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.update(concat("data of stage ", stage.name, ": ", format_bytes(done), " of ", format_bytes(total)));
  };
  Diagnostics diagnostics;
  const Dataset data = load_datasets(entries, {}, options, &tokenizer, diagnostics);
  diagnostics.throw_if_errors();
  check_files(stage, data);
  stats.finish(data, options.sequence_len);
  return stats;
}

}  // namespace

std::optional<CorpusStats> data_statistics(const std::vector<StageRecord>& stages, const std::string& base) {
  if (stages.empty() || !path_exists(join_path(base, "tokenizer.model"))) return std::nullopt;
  try {
    const Tokenizer tokenizer = Tokenizer::load(join_path(base, "tokenizer.model"));
    CorpusStats all;
    for (const StageRecord& stage : stages) all.merge(statistics_of(stage, tokenizer));
    if (all.messages() > 0) return all;
    log_info("the data has no messages of BlockML: the model card has no statistics");
  } catch (const Error& error) {
    log_info("the model card has no statistics of the data: " + error.diagnostics().front().message);
  }
  return std::nullopt;
}

}  // namespace shori
