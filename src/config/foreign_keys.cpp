#include "src/config/foreign_keys.h"

#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

using Kind = ForeignKey::Kind;

const ForeignKey* find_row(std::span<const ForeignKey> rows, std::string_view name) {
  const ForeignKey* by_prefix = nullptr;
  for (const ForeignKey& row : rows) {
    if (row.name == name) return &row;
    const std::string_view prefix = row.name.substr(0, row.name.size() - 1);
    if (row.name.back() == '*' && by_prefix == nullptr && name.substr(0, prefix.size()) == prefix) by_prefix = &row;
  }
  return by_prefix;
}

bool is_zero(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0.+-") == std::string::npos && text.find('0') != std::string::npos;
}

// Whether `text` is one of the values in `list`, which are joined by `|`. Case and quotes do not matter.
bool is_listed(std::string_view list, std::string_view text) {
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find('|', begin), list.size());
    if (lower_ascii(list.substr(begin, end - begin)) == lower_ascii(text)) return true;
    begin = end + 1;
  }
  return false;
}

bool are_listed(std::string_view list, const std::vector<YamlNode>& items) {
  return std::all_of(items.begin(), items.end(), [list](const YamlNode& item) {
    return item.kind == YamlNode::Kind::kScalar && is_listed(list, item.text);
  });
}

// The tokens that every tokenizer of Mistral has for these names. Padding is never seen by the model.
std::string_view own_tokens(std::string_view name) {
  if (name == "bos_token") return "<s>";
  if (name == "eos_token") return "</s>";
  if (name == "unk_token") return "<unk>";
  return name == "pad_token" ? "<s>|</s>|<unk>" : "";
}

bool are_own_tokens(const YamlNode& tokens) {
  return tokens.kind == YamlNode::Kind::kMapping &&
         std::all_of(tokens.members.begin(), tokens.members.end(), [](const auto& member) {
           return is_empty_value(member.second) || is_listed(own_tokens(member.first.text), member.second.text);
         });
}

// The value of another key in the same mapping.
std::string text_of(const YamlNode& mapping, std::string_view key, const char* otherwise) {
  const YamlNode* value = mapping.find(key);
  return value == nullptr || value->kind != YamlNode::Kind::kScalar ? otherwise : value->text;
}

// Whether the value says what this program does anyway.
bool means_the_same(const ForeignKey& key, const Setting& setting) {
  const YamlNode& root = setting.document->root;
  if (key.kind == Kind::kDecided || key.kind == Kind::kNotDone) return true;
  if (key.name == "special_tokens") return are_own_tokens(setting.value);
  if (setting.value.kind == YamlNode::Kind::kSequence) return are_listed(key.same, setting.value.items);
  if (setting.value.kind != YamlNode::Kind::kScalar) return false;
  if (key.name == "base_model_config" || key.name == "tokenizer_config")
    return setting.value.text == text_of(root, "base_model", "");
  if (key.name == "data_seed") return setting.value.text == text_of(root, "seed", "42");
  return is_listed(key.same, setting.value.text);
}

}  // namespace

const ForeignKey* find_foreign_key(std::string_view name) { return find_row(foreign_keys(), name); }
const ForeignKey* find_foreign_dataset_key(std::string_view name) { return find_row(foreign_dataset_keys(), name); }

bool is_empty_value(const YamlNode& value) {
  switch (value.kind) {
    case YamlNode::Kind::kNull:
      return true;
    case YamlNode::Kind::kSequence:
      return value.items.empty();
    case YamlNode::Kind::kMapping:
      return value.members.empty();
    case YamlNode::Kind::kScalar:
      break;
  }
  return value.text.empty() || is_zero(value.text) || is_listed("false|none|null|no|off", value.text);
}

bool check_foreign_value(const ForeignKey& key, const Setting& setting, const std::string& what,
                         Diagnostics& diagnostics) {
  if (is_empty_value(setting.value) || means_the_same(key, setting)) return true;
  const std::string reason = key.kind == Kind::kLater ? " is not in this version of shori-train"
                             : key.kind == Kind::kSame
                                 ? concat(" has a value that shori-train does not offer: ", quoted_value(setting.value))
                                 : " is an Axolotl key that shori-train does not have";
  Diagnostic diagnostic("E0112", what + reason);
  diagnostic.at(setting.key_location()).note(std::string(key.effect));
  if (key.name == "lora_model_dir") {
    diagnostic.help(
        concat("write `init_from: ", value_text(setting.value), "`: a new run from that adapter's weights"));
  } else if (key.name == "special_tokens") {
    diagnostic.help("delete the line: `<s>`, `</s>` and `<unk>` are used, and padding is never seen by the model");
  } else {
    diagnostic.help(key.instead.empty() ? "delete the line" : concat("use ", key.instead));
  }
  diagnostics.add(std::move(diagnostic));
  return false;
}

std::vector<std::string> accepted_keys_notes(const std::vector<Setting>& without_effect) {
  struct Group {
    std::string_view text;
    std::vector<std::string> names;
  };
  std::array<Group, 4> groups = {{{"accepted, but decided by the program: ", {}},
                                  {"accepted, as it says what the model or this program is: ", {}},
                                  {"accepted, but not done here (nothing is sent or logged to a service): ", {}},
                                  {"accepted because they are empty, without a meaning here: ", {}}}};
  for (const Setting& setting : without_effect) {
    const ForeignKey* foreign = find_foreign_key(setting.key);
    const bool is_decided = foreign == nullptr || foreign->kind == Kind::kDecided;
    const std::size_t group = is_decided                        ? 0
                              : is_empty_value(setting.value)   ? 3
                              : foreign->kind == Kind::kNotDone ? 2
                                                                : 1;
    const std::string name = escape_for_log(setting.key);
    auto& list = groups[group].names;
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  }
  std::vector<std::string> notes;
  for (const Group& group : groups) {
    if (!group.names.empty()) notes.push_back(concat(group.text, join_words(group.names)));
  }
  return notes;
}

}  // namespace shori
