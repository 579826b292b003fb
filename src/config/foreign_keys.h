// Keys of published Axolotl configs that mean nothing here, and keys of later versions of this program.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/config/settings.h"

namespace shori {

struct ForeignKey {
  enum class Kind {
    kAxolotl,  // only an off value is accepted: anything else would change results
    kDecided,  // every value is accepted: none changes results, the program decides this by itself
    kNotDone,  // every value is accepted: it asks for reports to a service, which are not made here
    kSame,     // off values and those that say what the model or this program is
    kLater,    // only an off value is accepted: not in this version
  };
  std::string_view name;  // a `*` at the end stands for any rest
  Kind kind;
  std::string_view effect;        // what it would do
  std::string_view instead = "";  // what to write; empty: delete the line
  std::string_view same = "";     // values that are accepted, joined by `|`
};

// The rows (foreign_key_table.cpp): keys of a config, and members of a dataset entry.
std::span<const ForeignKey> foreign_keys();
std::span<const ForeignKey> foreign_dataset_keys();

// The row for a key of the config, or nullptr. A full name wins over one with `*`.
const ForeignKey* find_foreign_key(std::string_view name);
// The same for members of a dataset entry.
const ForeignKey* find_foreign_dataset_key(std::string_view name);

// Off in any spelling: empty, null, 0, false, none, no, off, [] or {}.
bool is_empty_value(const YamlNode& value);

// E0112 and false unless the value may stand. `what` names the key in the message.
bool check_foreign_value(const ForeignKey& key, const Setting& setting, const std::string& what,
                         Diagnostics& diagnostics);

// One line each, or none: the keys that the program decides by itself, those that say what is so anyway, those that ask
// for reports to services, and the off ones without a meaning here.
std::vector<std::string> accepted_keys_notes(const std::vector<Setting>& without_effect);

}  // namespace shori
