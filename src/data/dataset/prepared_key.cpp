#include <algorithm>
#include <string>

#include "shori/data/lint.h"
#include "shori/util/build_info.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "src/data/dataset/prepared_data.h"

namespace shori {
namespace {

class Lines {
 public:
  void add(const std::string& name, const std::string& value) { text_ += name + "\t" + value + "\n"; }
  void add(const std::string& name, std::int64_t value) { add(name, concat(value)); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += json_quote(item) + ",";
  return text;
}

void add_lint(Lines& lines, const LintOptions& lint) {
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    const auto rule = static_cast<LintRule>(i);
    lines.add("lint " + std::string(lint_rule_name(rule)), std::string(lint_level_name(lint.level(rule))) + " " +
                                                               std::string(lint_level_name(lint.level(rule, true))));
  }
  std::vector<std::string> usernames(lint.usernames.begin(), lint.usernames.end());
  std::sort(usernames.begin(), usernames.end());
  lines.add("lint.usernames", joined(usernames));
  lines.add("lint.internal_hosts", joined(lint.internal_hosts));
}

// Names all options: one that is added does not compile until it is handled here.
void add_options(Lines& lines, const DataOptions& options) {
  const auto& [sequence_len, overlong, train_on_inputs, roles_to_train, train_on_eos, train_on_speaker, bos, eos,
               repeat_scenario, compat, val_set_size, skip_samples, compare, allow_overlap, warn_with_errors, dedupe,
               vocab_size, threads, default_length, length_buckets, lint, keep_regions, parse_only, recorded_files,
               prepared_path, progress, observe] = options;
  lines.add("sequence_len", sequence_len);
  lines.add("excess_length_strategy", static_cast<std::int64_t>(overlong));
  lines.add("train_on_inputs", train_on_inputs);
  lines.add("roles_to_train", joined(roles_to_train));
  lines.add("train_on_eos", train_on_eos);
  lines.add("blockml.train_on_speaker", train_on_speaker);
  lines.add("blockml.bos", bos);
  lines.add("blockml.eos", static_cast<std::int64_t>(eos));
  lines.add("blockml.repeat_scenario", repeat_scenario);
  lines.add("compat", compat);
  lines.add("val_set_size", double_bits_hex(val_set_size));
  lines.add("skip_samples", joined(skip_samples));
  lines.add("overlap checks", compare);
  lines.add("allow_overlap", allow_overlap);
  lines.add("dedupe", dedupe);
  lines.add("regions", keep_regions);
  lines.add("vocabulary", vocab_size);
  lines.add("blockml.default_length", std::string(word_of(default_length)));
  lines.add("blockml.length_unit", static_cast<std::int64_t>(length_buckets.unit));
  for (const std::int64_t bound : length_buckets.bounds) lines.add("blockml.length_buckets", bound);
  if (lint != nullptr) add_lint(lines, *lint);
}

void add_entry(Lines& lines, const DataEntry& entry, bool train) {
  const auto& [path, resolved_path, type, field, category, rating, tags_rating, location, in_config] = entry;
  std::string value = json_quote(field) + " " + json_quote(category) + " " + joined(rating);
  for (const std::vector<std::string>& words : tags_rating) value += " [" + joined(words) + "]";
  lines.add(train ? "datasets" : "test_datasets", value);
}

// Rating files and `skip_samples` name conversations by their files. Otherwise no name has an effect.
std::string name_that_counts(const PreparedInputs& inputs, std::uint32_t file) {
  const bool has_effect = !inputs.options.skip_samples.empty() || !inputs.sources.entry_of(file).rating.empty();
  return has_effect ? json_quote(inputs.files[file].path) : "";
}

}  // namespace

std::string prepared_key(const PreparedInputs& inputs) {
  Lines lines;
  lines.add("the program", build_id());
  lines.add("tokenizer.model", inputs.tokenizer_sha256);
  add_options(lines, inputs.options);
  const DataSources& sources = inputs.sources;
  for (std::size_t i = 0; i < sources.entries.size(); ++i) {
    add_entry(lines, sources.entries[i], i < sources.train_entries);
  }
  for (const auto& [folder, table] : sources.rating_files) lines.add(json_quote(table.path), table.sha256);
  for (std::size_t i = 0; i < inputs.files.size(); ++i) {
    const DataFile& file = inputs.files[i];
    lines.add(json_quote(file.path),
              concat(sources.files[i].entry, ' ', static_cast<int>(sources.files[i].type), ' ', file.size, ' ',
                     file.sha256, ' ', name_that_counts(inputs, static_cast<std::uint32_t>(i))));
  }
  return lines.take();
}

}  // namespace shori
