#include "shori/config/config_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>

#include "shori/util/hash.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "src/config/config_keys.h"

namespace shori {
namespace {

Json dataset_list(const DatasetList& entries, ConfigScope scope) {
  Json list = Json::array();
  for (const DataEntry& entry : entries) {
    Json item = {{"type", entry.type}, {"field", entry.field}};
    if (!entry.rating.empty()) item["rating"] = entry.rating;
    for (std::size_t i = 0; i < kRatings.size(); ++i) {
      if (!entry.tags_rating[i].empty()) item[concat("tags_rating.", kRatings[i])] = entry.tags_rating[i];
    }
    if (scope == ConfigScope::kComplete) {
      item["path"] = entry.resolved_path;
      item["category"] = entry.category;
    }
    list.push_back(std::move(item));
  }
  return list;
}

// Levels and lists that are set. The file of names is a place.
Json lint_object(const LintConfig& lint, ConfigScope scope) {
  Json object = Json::object();
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    if (lint.levels[i]) object[std::string(kWords<LintRule>[i])] = word_of(*lint.levels[i]);
  }
  if (!lint.internal_hosts.empty()) object["internal_hosts"] = lint.internal_hosts;
  if (scope == ConfigScope::kComplete && !lint.usernames.empty()) object["usernames"] = lint.resolved_usernames;
  return object;
}

Json length_bounds_object(const LengthBounds& lengths) {
  Json object = Json::object();
  for (std::size_t i = 0; i < kBoundedLengths.size(); ++i) object[std::string(kBoundedLengths[i])] = lengths[i];
  return object;
}

struct FieldWriter {
  ConfigScope scope;

  Json operator()(const bool* field) const { return *field; }
  Json operator()(const Integer* field) const { return *field; }
  Json operator()(const double* field) const { return *field; }
  Json operator()(const std::string* field) const { return *field; }
  Json operator()(const TextList* field) const { return *field; }
  Json operator()(const DatasetList* field) const { return dataset_list(*field, scope); }
  Json operator()(const LintConfig* field) const { return lint_object(*field, scope); }
  Json operator()(const LengthBounds* field) const { return length_bounds_object(*field); }
  Json operator()(const WordField& field) const { return field.words[field.get(field.field)]; }
  template <typename T>
  Json operator()(const std::optional<T>* field) const {
    return *field ? (*this)(&**field) : Json();
  }
};

bool in_scope(const KeyInfo& key, ConfigScope scope) {
  if (scope == ConfigScope::kComplete || key.name == "datasets") return true;
  if (key.key_class == KeyClass::kNumeric) return true;
  return scope == ConfigScope::kPortable && (key.key_class == KeyClass::kOutput || key.name == "test_datasets");
}

// A key that records and hashes had no place for when older runs were made. Its default is left out, so that those resume.
constexpr std::string_view kUnwrittenByDefault = "matmul";

bool holds_real(const KeyInfo& key) {
  TrainConfig scratch;
  const ConfigField field = key.field(scratch);
  return std::holds_alternative<double*>(field) || std::holds_alternative<OptionalReal*>(field);
}

// A canonical value as a person would write it. `real`: strings are the bits of a number.
std::string shown(const JsonValue& value, bool real) {
  std::string inside;
  switch (value.kind) {
    case JsonValue::Kind::kNull:
      return "null";
    case JsonValue::Kind::kBool:
      return value.boolean ? "true" : "false";
    case JsonValue::Kind::kNumber:
      return value.text;
    case JsonValue::Kind::kString:
      if (const auto number = real ? double_from_bits_hex(value.text) : std::nullopt) return number_text(*number);
      return value.text;
    case JsonValue::Kind::kArray:
      for (const JsonValue& item : value.items) inside += (inside.empty() ? "" : ", ") + shown(item, false);
      return "[" + inside + "]";
    case JsonValue::Kind::kObject:
      for (const auto& [name, member] : value.members) {
        inside += concat(inside.empty() ? "" : ", ", name, ": ", shown(member, false));
      }
      return "{" + inside + "}";
  }
  return inside;
}

// Each entry without its paths: what a numeric or portable config records.
JsonValue without_places(const JsonValue& entries) {
  JsonValue list = entries;
  for (JsonValue& item : list.items) {
    std::erase_if(item.members,
                  [](const auto& member) { return member.first == "path" || member.first == "category"; });
  }
  return list;
}

bool records_places(const JsonValue& entries) {
  return !entries.items.empty() && entries.items.front().find("path") != nullptr;
}

// Where all entries have one form, any number of them may name the files, whose contents are guarded by hashes.
bool have_one_form(const JsonValue& stored, const JsonValue& present) {
  std::set<std::string> forms;
  for (const JsonValue* entries : {&stored, &present})
    for (const JsonValue& item : entries->items) forms.insert(shown(item, false));
  return forms.size() == 1 && !stored.items.empty() && !present.items.empty();
}

void compare_datasets(const std::string& name, KeyClass key_class, const JsonValue& stored, const JsonValue& present,
                      std::vector<ConfigDifference>& differences) {
  const std::string before = shown(without_places(stored), false), now = shown(without_places(present), false);
  if (before != now && !have_one_form(without_places(stored), without_places(present))) {
    const KeyClass by_form = name == "datasets" ? KeyClass::kNumeric : key_class;
    differences.push_back({name, by_form, before, now});
  } else if (records_places(stored) && shown(stored, false) != shown(present, false)) {
    differences.push_back({name, key_class, shown(stored, false), shown(present, false)});
  }
}

Json config_object(const TrainConfig& config, ConfigScope scope, bool with_every_default) {
  TrainConfig copy = config;
  Json object = Json::object();
  for (const KeyInfo& key : config_keys()) {
    const bool unwritten = key.name == kUnwrittenByDefault && config.matmul == TrainConfig().matmul;
    if (!in_scope(key, scope) || (unwritten && !with_every_default)) continue;
    object[std::string(key.name)] = std::visit(FieldWriter{scope}, key.field(copy));
  }
  return object;
}

}  // namespace

std::string canonical_config(const TrainConfig& config, ConfigScope scope) {
  return canonical_json(config_object(config, scope, false));
}

std::string config_hash(const TrainConfig& config) {
  return sha256_hex(canonical_config(config, ConfigScope::kNumeric));
}

std::vector<ConfigDifference> config_differences(const JsonValue& stored, const TrainConfig& present) {
  JsonProblem problem;
  const std::string text = canonical_json(config_object(present, ConfigScope::kComplete, true));
  const auto now = parse_json(text, JsonLimits{}, problem);
  SHORI_CHECK(now.has_value(), "own canonical config is not JSON: " + problem.message);
  std::vector<ConfigDifference> differences;
  for (const KeyInfo& key : config_keys()) {
    const std::string name(key.name);
    const bool real = holds_real(key);
    const JsonValue* before = stored.find(name);
    const JsonValue& value = *now->find(name);
    if (before == nullptr && name == kUnwrittenByDefault) {
      const std::string unwritten(kWords<MatmulKernel>.front());
      if (shown(value, false) != unwritten)
        differences.push_back({name, key.key_class, unwritten, shown(value, false)});
    } else if (before == nullptr) {
      if (key.key_class != KeyClass::kNumeric) continue;
      differences.push_back({name, key.key_class, "(not recorded)", shown(value, real)});
    } else if (name == "datasets" || name == "test_datasets") {
      compare_datasets(name, key.key_class, *before, value, differences);
    } else if (shown(*before, real) != shown(value, real)) {
      // The fingerprint of the data has the conversations that were skipped, whatever they are called.
      const KeyClass key_class = name == "skip_samples" ? KeyClass::kPlace : key.key_class;
      differences.push_back({name, key_class, shown(*before, real), shown(value, real)});
    }
  }
  for (const auto& [name, value] : stored.members) {
    if (find_config_key(name) != nullptr) continue;
    differences.push_back({name, KeyClass::kNumeric, shown(value, false), "(no such key)"});
  }
  return differences;
}

bool has_numbers_of(const JsonValue& record, const TrainConfig& present) {
  const JsonValue* hash = record.find("config_hash");
  if (hash != nullptr && hash->text == config_hash(present)) return true;
  const JsonValue* config = record.find("config");
  if (config == nullptr || !config->is_object()) return false;
  const std::vector<ConfigDifference> differences = config_differences(*config, present);
  return std::none_of(differences.begin(), differences.end(),
                      [](const ConfigDifference& d) { return d.key_class == KeyClass::kNumeric; });
}

}  // namespace shori
