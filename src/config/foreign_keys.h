// Keys of published Axolotl configs that mean nothing here, and keys of later versions of this program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/config/settings.h"

namespace shori {

struct ForeignKey {
  enum class Kind {
    kAxolotl,  // only an empty value is accepted
    kDecided,  // true and false are accepted: the program decides this by itself, as the keys of SHORI_DECIDED_KEYS
    kLater,    // only an empty value is accepted: not in this version
  };
  std::string_view name;  // a `*` at the end stands for any rest
  Kind kind;
  std::string_view effect;   // what it would do
  std::string_view instead;  // what to write; empty: delete the line
};

// The row for a key of the config, or nullptr. A full name wins over one with `*`.
const ForeignKey* find_foreign_key(std::string_view name);
// The same for members of a dataset entry.
const ForeignKey* find_foreign_dataset_key(std::string_view name);

// Empty, false, null, [] or {}.
bool is_empty_value(const YamlNode& value);

// E0112 and false unless the value may stand. `what` names the key in the message.
bool check_foreign_value(const ForeignKey& key, const Setting& setting, const std::string& what,
                         Diagnostics& diagnostics);

// One line each, or none: the keys that the program decides by itself, and the empty ones without a meaning here.
std::vector<std::string> accepted_keys_notes(const std::vector<Setting>& without_effect);

}  // namespace shori
