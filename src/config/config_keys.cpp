#include "src/config/config_keys.h"

#include <cmath>
#include <type_traits>

#include "shori/config/word_check.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// Lists that are neither a key's nor an option's.
static_assert(kHasAllWords<Role> && kHasAllWords<LengthHint> && kHasAllWords<DataType> && kHasAllWords<Rating> &&
              kHasAllWords<LintLevel> && kHasAllWords<LintRule> && kHasAllWords<LengthUnit>);

template <typename T>
ConfigField field_of(T& field) {
  if constexpr (std::is_enum_v<T>) {
    static_assert(kHasAllWords<T>, "kWords has a word for each enumerator");
    return WordField{&field, kWords<T>,
                     [](void* at, std::size_t index) { *static_cast<T*>(at) = static_cast<T>(index); },
                     [](const void* at) { return static_cast<std::size_t>(*static_cast<const T*>(at)); }};
  } else {
    return &field;
  }
}

std::vector<KeyInfo> make_config_keys() {
  using namespace rules;
#define SHORI_TRAIN_ROW(type, key, default_value, key_class, rule, meaning) \
  {#key, KeyClass::key_class, rule, meaning, [](TrainConfig& c) { return field_of(c.key); }},
#define SHORI_DECIDED_ROW(type, key, default_value, key_class, rule, meaning) \
  {#key, KeyClass::key_class, rule, meaning, [](TrainConfig& c) { return field_of(c.key); }, true},
#define SHORI_BLOCKML_ROW(type, key, default_value, key_class, rule, meaning) \
  {"blockml." #key, KeyClass::key_class, rule, meaning, [](TrainConfig& c) { return field_of(c.blockml.key); }},
  return {SHORI_TRAIN_KEYS(SHORI_TRAIN_ROW) SHORI_DECIDED_KEYS(SHORI_DECIDED_ROW)
              SHORI_BLOCKML_KEYS(SHORI_BLOCKML_ROW)};
#undef SHORI_TRAIN_ROW
#undef SHORI_DECIDED_ROW
#undef SHORI_BLOCKML_ROW
}

std::string with_range(std::string text, const ValueRule& rule) {
  return rule.bounded ? concat(text, " in ", rule.range_text()) : text;
}

}  // namespace

bool ValueRule::contains(double value) const {
  if (!bounded) return true;
  if (value < low || (low_open && value == low)) return false;
  if (value > high || (high_open && value == high)) return false;
  return !share_or_count || value < 1 || value == std::floor(value);
}

std::string ValueRule::range_text() const {
  return concat(low_open ? "(" : "[", number_text(low), ", ", number_text(high), high_open ? ")" : "]");
}

const std::vector<KeyInfo>& config_keys() {
  static const std::vector<KeyInfo> keys = make_config_keys();
  return keys;
}

const KeyInfo* find_config_key(std::string_view name) {
  for (const KeyInfo& key : config_keys()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::string_view key_class_name(KeyClass key_class) {
  switch (key_class) {
    case KeyClass::kNumeric:
      return "numeric";
    case KeyClass::kOutput:
      return "output";
    case KeyClass::kPlace:
      return "place";
  }
  return "";
}

bool chooses_targets(std::string_view key) {
  return key == "roles_to_train" || key == "train_on_eos" || key == "blockml.train_on_speaker";
}

std::string value_kind_text(const KeyInfo& key) {
  TrainConfig config;
  struct {
    const ValueRule& rule;
    std::string number() const {
      return rule.share_or_count ? "a share below 1 or a whole number" : with_range("a number", rule);
    }
    std::string operator()(bool*) const { return "true or false"; }
    std::string operator()(Integer*) const { return with_range("an integer", rule); }
    std::string operator()(OptionalInteger*) const { return with_range("an integer", rule); }
    std::string operator()(double*) const { return number(); }
    std::string operator()(OptionalReal*) const { return number(); }
    std::string operator()(std::string*) const { return "a text"; }
    std::string operator()(TextList*) const {
      return rule.words.empty() ? "a list of texts" : "a list of " + join_words(rule.words);
    }
    std::string operator()(DatasetList*) const { return "a list of entries"; }
    std::string operator()(LintConfig*) const { return "{RULE: level, usernames: FILE, internal_hosts: [...]}"; }
    std::string operator()(LengthBounds*) const {
      return "{nano: 12, ..., huge: 800}, each larger than the one before";
    }
    std::string operator()(const WordField& field) const {
      return field.words.size() == 1 ? std::string(field.words[0]) : "one of " + join_words(field.words);
    }
  } describe{key.rule};
  return std::visit(describe, key.field(config));
}

std::string number_text(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15) return concat(static_cast<long long>(value));
  std::string text = format_double(value);
  const std::size_t exponent = text.find_first_of("eE");
  if (exponent != std::string::npos && text.size() > exponent + 3 && text[exponent + 2] == '0') {
    text.erase(exponent + 2, 1);  // people write 7.25e-5, not 7.25e-05
  }
  return text;
}

}  // namespace shori
