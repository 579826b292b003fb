// The row lists of train_config.h as a table of descriptors, with access to the field of each key.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shori/config/train_config.h"

namespace shori {

// Which values a key takes. Bounds apply to numbers, words to lists.
struct ValueRule {
  double low = 0, high = 0;
  bool bounded = false, low_open = false, high_open = false;
  bool share_or_count = false;  // a fraction below 1, or a whole number
  bool required = false;
  bool path = false;  // a path, or texts that begin with one
  std::span<const std::string_view> words = {};

  constexpr ValueRule needed() const {
    ValueRule rule = *this;
    rule.required = true;
    return rule;
  }
  constexpr ValueRule positive() const {
    ValueRule rule = *this;
    rule.low_open = true;
    return rule;
  }
  bool contains(double value) const;
  std::string range_text() const;  // "(0, 0.01]"
};

namespace rules {
constexpr ValueRule any() { return {}; }
constexpr ValueRule required() { return ValueRule{}.needed(); }
constexpr ValueRule path() { return {.path = true}; }
constexpr ValueRule between(double low, double high) { return {.low = low, .high = high, .bounded = true}; }
constexpr ValueRule above(double low, double high) {
  return {.low = low, .high = high, .bounded = true, .low_open = true};
}
constexpr ValueRule below(double low, double high) {
  return {.low = low, .high = high, .bounded = true, .high_open = true};
}
constexpr ValueRule inside(double low, double high) {
  return {.low = low, .high = high, .bounded = true, .low_open = true, .high_open = true};
}
constexpr ValueRule share_or_count() { return {.low = 0, .high = 1e9, .bounded = true, .share_or_count = true}; }
constexpr ValueRule words(std::span<const std::string_view> list) { return {.words = list}; }
}  // namespace rules

// A field whose values are the words of an enumeration.
struct WordField {
  void* field;
  std::span<const std::string_view> words;
  void (*set)(void* field, std::size_t index);
  std::size_t (*get)(const void* field);
};

using ConfigField = std::variant<bool*, Integer*, double*, std::string*, OptionalInteger*, OptionalReal*, TextList*,
                                 DatasetList*, LintConfig*, LengthBounds*, WordField>;

struct KeyInfo {
  std::string_view name;  // "lora_r", "blockml.eos"
  KeyClass key_class;
  ValueRule rule;
  std::string_view meaning;
  ConfigField (*field)(TrainConfig& config);
  bool decided = false;  // accepted, but the program decides this by itself
};

// All keys, in the order of train_config.h.
const std::vector<KeyInfo>& config_keys();
const KeyInfo* find_config_key(std::string_view name);
std::string_view key_class_name(KeyClass key_class);

// Whether the key chooses targets: it has no effect under `train_on_inputs: true`, which makes every token a target.
bool chooses_targets(std::string_view key);

// What a value of this key may be: "integer in [1, 1024]", "true or false", "one of constant, linear, cosine".
std::string value_kind_text(const KeyInfo& key);

// A number as people write it: whole numbers without a point, exponents without a leading zero. Reads back as the same
// value.
std::string number_text(double value);

}  // namespace shori
