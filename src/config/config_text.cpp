#include "shori/config/config_text.h"

#include <algorithm>
#include <type_traits>

#include "shori/util/hash.h"
#include "src/config/config_keys.h"

namespace shori {
namespace {

CanonicalJson text_list(const std::vector<std::string>& texts) {
  CanonicalJson list = CanonicalJson::array();
  for (const std::string& text : texts) list.push(CanonicalJson::string(text));
  return list;
}

CanonicalJson dataset_list(const DatasetList& entries, ConfigScope scope) {
  CanonicalJson list = CanonicalJson::array();
  for (const DataEntry& entry : entries) {
    CanonicalJson item = CanonicalJson::object();
    item.set("type", CanonicalJson::string(entry.type)).set("field", CanonicalJson::string(entry.field));
    if (!entry.rating.empty()) item.set("rating", text_list(entry.rating));
    for (std::size_t i = 0; i < kRatings.size(); ++i) {
      if (!entry.tags_rating[i].empty())
        item.set("tags_rating." + std::string(kRatings[i]), text_list(entry.tags_rating[i]));
    }
    if (scope == ConfigScope::kComplete) {
      item.set("path", CanonicalJson::string(entry.resolved_path));
      item.set("category", CanonicalJson::string(entry.category));
    }
    list.push(std::move(item));
  }
  return list;
}

// Set levels and lists only; the file of names is a place.
CanonicalJson lint_object(const LintConfig& lint, ConfigScope scope) {
  CanonicalJson object = CanonicalJson::object();
  for (std::size_t i = 0; i < kLintRuleCount; ++i) {
    if (!lint.levels[i]) continue;
    object.set(std::string(kWords<LintRule>[i]), CanonicalJson::string(std::string(word_of(*lint.levels[i]))));
  }
  if (!lint.internal_hosts.empty()) object.set("internal_hosts", text_list(lint.internal_hosts));
  if (scope == ConfigScope::kComplete && !lint.usernames.empty())
    object.set("usernames", CanonicalJson::string(lint.resolved_usernames));
  return object;
}

CanonicalJson length_bounds_object(const LengthBounds& lengths) {
  CanonicalJson object = CanonicalJson::object();
  for (std::size_t i = 0; i < kBoundedLengths.size(); ++i)
    object.set(std::string(kBoundedLengths[i]), CanonicalJson::integer(lengths[i]));
  return object;
}

struct FieldWriter {
  ConfigScope scope;

  CanonicalJson operator()(const bool* field) const { return CanonicalJson::boolean(*field); }
  CanonicalJson operator()(const Integer* field) const { return CanonicalJson::integer(*field); }
  CanonicalJson operator()(const double* field) const { return CanonicalJson::real(*field); }
  CanonicalJson operator()(const std::string* field) const { return CanonicalJson::string(*field); }
  CanonicalJson operator()(const TextList* field) const { return text_list(*field); }
  CanonicalJson operator()(const DatasetList* field) const { return dataset_list(*field, scope); }
  CanonicalJson operator()(const LintConfig* field) const { return lint_object(*field, scope); }
  CanonicalJson operator()(const LengthBounds* field) const { return length_bounds_object(*field); }
  CanonicalJson operator()(const WordField& field) const {
    return CanonicalJson::string(field.words[field.get(field.field)]);
  }
  template <typename T>
  CanonicalJson operator()(const std::optional<T>* field) const {
    return *field ? (*this)(&**field) : CanonicalJson::null();
  }
};

bool in_scope(const KeyInfo& key, ConfigScope scope) {
  if (scope == ConfigScope::kComplete || key.name == "datasets") return true;
  return key.key_class == KeyClass::kNumeric || (scope == ConfigScope::kPortable && key.key_class == KeyClass::kOutput);
}

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
        inside += (inside.empty() ? "" : ", ") + name + ": " + shown(member, false);
      }
      return "{" + inside + "}";
  }
  return inside;
}

// All but the places of each entry: what a numeric or portable config records.
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

void compare_datasets(const std::string& name, KeyClass key_class, const JsonValue& stored, const JsonValue& present,
                      std::vector<ConfigDifference>& differences) {
  const std::string before = shown(without_places(stored), false), now = shown(without_places(present), false);
  if (before != now) {
    const KeyClass by_form = name == "datasets" ? KeyClass::kNumeric : key_class;
    differences.push_back({name, by_form, before, now});
  } else if (records_places(stored) && shown(stored, false) != shown(present, false)) {
    differences.push_back({name, key_class, shown(stored, false), shown(present, false)});
  }
}

}  // namespace

CanonicalJson canonical_config(const TrainConfig& config, ConfigScope scope) {
  TrainConfig copy = config;
  CanonicalJson object = CanonicalJson::object();
  for (const KeyInfo& key : config_keys()) {
    if (in_scope(key, scope)) object.set(std::string(key.name), std::visit(FieldWriter{scope}, key.field(copy)));
  }
  return object;
}

std::string config_hash(const TrainConfig& config) {
  return sha256_hex(canonical_config(config, ConfigScope::kNumeric).text());
}

std::vector<ConfigDifference> config_differences(const JsonValue& stored, const TrainConfig& present) {
  JsonProblem problem;
  const std::string text = canonical_config(present, ConfigScope::kComplete).text();
  const auto now = parse_json(text, JsonLimits{}, problem);
  SHORI_CHECK(now.has_value(), "own canonical config is not JSON: " + problem.message);
  std::vector<ConfigDifference> differences;
  for (const KeyInfo& key : config_keys()) {
    const std::string name(key.name);
    const bool real = holds_real(key);
    const JsonValue* before = stored.find(name);
    const JsonValue& value = *now->find(name);
    if (before == nullptr) {
      if (key.key_class != KeyClass::kNumeric) continue;
      differences.push_back({name, key.key_class, "(not recorded)", shown(value, real)});
    } else if (name == "datasets" || name == "test_datasets") {
      compare_datasets(name, key.key_class, *before, value, differences);
    } else if (shown(*before, real) != shown(value, real)) {
      differences.push_back({name, key.key_class, shown(*before, real), shown(value, real)});
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
