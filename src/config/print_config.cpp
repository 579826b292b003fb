// The printed forms of a config: the resolved one as YAML, and the list of all keys.
#include <algorithm>
#include <map>

#include "shori/config/config_text.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/yaml.h"
#include "src/config/config_keys.h"

namespace shori {
namespace {

constexpr std::string_view kNested = "blockml.";
constexpr std::string_view kStagesMeaning =
    "makes the file a recipe: a list of {name, and the keys that differ}; each stage begins from the one before";

bool is_plain_text(const std::string& text) {
  const std::string_view safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
  if (text.empty() || text.front() == '-' || text.find_first_not_of(safe) != std::string::npos) return false;
  return text.find_first_not_of("0123456789.eE+-") != std::string::npos && text != "null" && text != "true" &&
         text != "false";
}

std::string list_text(const std::vector<std::string>& texts) {
  std::string text;
  for (const std::string& each : texts) text += (text.empty() ? "" : ", ") + yaml_text(each);
  return "[" + text + "]";
}

std::string dataset_text(const DataEntry& entry) {
  std::string text = "{path: " + yaml_text(entry.resolved_path);
  if (!entry.type.empty()) text += ", type: " + entry.type;
  if (!entry.field.empty()) text += ", field: " + yaml_text(entry.field);
  if (!entry.category.empty()) text += ", category: " + entry.category;
  if (!entry.rating.empty()) text += concat(", rating: [", join_words(entry.rating), "]");
  std::string tags;
  for (std::size_t i = 0; i < kRatings.size(); ++i) {
    if (entry.tags_rating[i].empty()) continue;
    tags += concat(tags.empty() ? "" : ", ", kRatings[i], ": ", list_text(entry.tags_rating[i]));
  }
  if (!tags.empty()) text += concat(", tags_rating: {", tags, "}");
  return text + "}";
}

std::string lint_text(const LintConfig& lint) {
  std::string text;
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    if (!lint.levels[i]) continue;
    text += concat(", ", kWords<LintRule>[i], ": ", json_quote(std::string(word_of(*lint.levels[i]))));
  }
  if (!lint.usernames.empty()) text += ", usernames: " + yaml_text(lint.resolved_usernames);
  if (!lint.internal_hosts.empty()) text += ", internal_hosts: " + list_text(lint.internal_hosts);
  return "{" + (text.empty() ? text : text.substr(2)) + "}";
}

std::string length_bounds_text(const LengthBounds& lengths) {
  std::string text;
  for (std::size_t i = 0; i < kBoundedLengths.size(); ++i)
    text += concat(i == 0 ? "" : ", ", kBoundedLengths[i], ": ", lengths[i]);
  return "{" + text + "}";
}

struct YamlText {
  std::string operator()(const bool* field) const { return *field ? "true" : "false"; }
  std::string operator()(const Integer* field) const { return concat(*field); }
  std::string operator()(const double* field) const { return number_text(*field); }
  std::string operator()(const std::string* field) const { return field->empty() ? "null" : yaml_text(*field); }
  std::string operator()(const WordField& field) const { return std::string(field.words[field.get(field.field)]); }
  std::string operator()(const TextList* field) const { return list_text(*field); }
  std::string operator()(const LintConfig* field) const { return lint_text(*field); }
  std::string operator()(const LengthBounds* field) const { return length_bounds_text(*field); }
  std::string operator()(const DatasetList* field) const {
    std::string text;
    for (const DataEntry& entry : *field) text += "\n  - " + dataset_text(entry);
    return text.empty() ? "[]" : text;
  }
  template <typename T>
  std::string operator()(const std::optional<T>* field) const {
    return *field ? (*this)(&**field) : "null";
  }
};

std::string origin_comment(const ValueOrigin& origin) {
  if (!origin.written.empty()) return concat("`", origin.written, "`");
  switch (origin.kind) {
    case ValueOrigin::Kind::kDefault:
      return "default";
    case ValueOrigin::Kind::kLeftEmpty:
      return "default (left empty)";
    case ValueOrigin::Kind::kSet:
      return "--set";
    case ValueOrigin::Kind::kDerived:
      return "follows from other keys";
    case ValueOrigin::Kind::kFile:
    case ValueOrigin::Kind::kStage:
      break;
  }
  return "";
}

std::string with_comment(std::string line, const std::string& comment) {
  if (comment.empty()) return line + "\n";
  constexpr std::size_t kColumn = 44;
  if (line.size() < kColumn) line.resize(kColumn, ' ');
  return concat(line, "  # ", comment, "\n");
}

std::string default_text(const KeyInfo& key) {
  if (key.rule.required) return "(required)";
  TrainConfig defaults;
  std::string text = std::visit(YamlText{}, key.field(defaults));
  return text == "null" ? "(unset)" : text;
}

std::string key_text(const KeyInfo& key) {
  const std::string head = concat(key.name, ": ", default_text(key));
  return with_comment(head, std::string(key_class_name(key.key_class))) +
         concat("    ", key.meaning, "\n    value: ", value_kind_text(key), "\n");
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (const std::string& cell : cells) {
    row += ' ';
    for (const char c : cell) row += c == '|' ? "\\|" : std::string(1, c);
    row += " |";
  }
  return row + "\n";
}

}  // namespace

std::string yaml_text(const std::string& text) { return is_plain_text(text) ? text : json_quote(text); }

std::string resolved_config_text(const StageConfig& stage) {
  TrainConfig copy = stage.config;
  std::string text;
  bool nested_before = false;
  for (const KeyInfo& key : config_keys()) {
    const bool nested = key.name.starts_with(kNested);
    if (nested && !nested_before) text += "blockml:\n";
    nested_before = nested;
    const std::string name = nested ? concat("  ", key.name.substr(kNested.size())) : std::string(key.name);
    if (copy.train_on_inputs && chooses_targets(key.name)) {
      text += concat("# ", name, " has no effect under train_on_inputs: true\n");
      continue;
    }
    const std::string value = std::visit(YamlText{}, key.field(copy));
    const bool block = value.front() == '\n';
    const std::string line = name + (block ? ":" : ": ") + value;
    text += with_comment(line, block ? "" : origin_comment(stage.origin(std::string(key.name))));
  }
  for (const std::string& line : stage.accepted) text += concat("# ", line, "\n");
  return text;
}

std::vector<std::pair<std::string, std::string>> chosen_settings(const StageConfig& stage) {
  TrainConfig copy = stage.config;
  std::vector<std::pair<std::string, std::string>> chosen;
  for (const KeyInfo& key : config_keys()) {
    const std::string name(key.name);
    const ConfigField field = key.field(copy);
    const bool has_no_effect = key.decided || (copy.train_on_inputs && chooses_targets(key.name));
    if (!stage.is_set(name) || has_no_effect || std::holds_alternative<DatasetList*>(field)) continue;
    chosen.emplace_back(name, std::visit(YamlText{}, field));
  }
  return chosen;
}

std::string help_keys_text() {
  std::string text =
      "Keys of a config file, with default and class:\n"
      "  numeric  decides the numbers; fixed once a run has begun\n"
      "  output   what is written or watched; may change under --resume\n"
      "  place    where something lies; may change under --resume if the contents are the same\n"
      "Keys `blockml.x` stand as `x` under `blockml:`. Paths are relative to the folder of the config file;\n"
      "`~`, `~user`, `$NAME` and `${NAME}` in them are expanded.\n\n";
  for (const KeyInfo& key : config_keys()) {
    if (!key.decided) text += key_text(key);
  }
  text += concat("\nstages: (unset)\n    ", kStagesMeaning, "\n");
  text += "\nAccepted, but decided by the program; the value changes nothing:\n\n";
  for (const KeyInfo& key : config_keys()) {
    if (key.decided) text += key_text(key);
  }
  return text;
}

std::string help_keys_markdown() {
  std::string text = "| key | default | class | values | meaning |\n|---|---|---|---|---|\n";
  for (const KeyInfo& key : config_keys()) {
    const std::string meaning = concat(key.decided ? "decided by the program: " : "", key.meaning);
    text += markdown_row({concat("`", key.name, "`"), default_text(key), std::string(key_class_name(key.key_class)),
                          value_kind_text(key), meaning});
  }
  return text + markdown_row({"`stages`", "(unset)", "", "a list of stages", std::string(kStagesMeaning)});
}

}  // namespace shori
