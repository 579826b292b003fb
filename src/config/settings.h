// One key with its value as it stands in a YAML text, and how it becomes a field of TrainConfig.
#pragma once

#include <string>
#include <vector>

#include "shori/config/load_config.h"
#include "shori/util/yaml.h"
#include "src/config/config_keys.h"

namespace shori {

// A key and its value, with the text they stand in. Keys under `blockml:` have their full name, "blockml.eos".
struct Setting {
  std::string key;
  YamlNode key_node;
  YamlNode value;
  const YamlDocument* document = nullptr;
  ValueOrigin::Kind kind = ValueOrigin::Kind::kFile;
  std::string written = {};  // the value as it stands in the text, where it was replaced by what it means; else empty

  SourceLocation key_location() const { return document->location(key_node); }
  SourceLocation value_location() const;  // of the value if it is a scalar, else of the key
  ValueOrigin origin() const;
};

using Settings = std::vector<Setting>;

// The list of a recipe's stages; collect_settings() skips it.
inline constexpr std::string_view kStagesKey = "stages";

const Setting* find_setting(const Settings& settings, std::string_view key);

// A value as it is quoted in messages: the text of a scalar (escaped, cut), "a list", "a mapping".
std::string value_text(const YamlNode& value);
// The same in backquotes where it is a text of the file: "`0.5`", "a list".
std::string quoted_value(const YamlNode& value);
// Says that `name` has a no-break space, which cannot be seen. Returns whether it has one.
bool explain_no_break_space(Diagnostic& diagnostic, std::string_view name);

// Adds "a key with a similar name exists" to a message, if there is one.
void propose_similar(Diagnostic& diagnostic, std::string_view kind, std::string_view name,
                     const std::vector<std::string_view>& names);

// The members of a mapping as settings. Unknown keys are E0101. Keys without effect go to
// `without_effect`: those that the program decides by itself, which are returned as well so that their value is checked,
// and Axolotl's keys and keys of later versions where their value may stand.
// Paths are expanded; `folder` is where relative ones begin.
Settings collect_settings(const YamlDocument& document, const YamlNode& mapping, ValueOrigin::Kind kind,
                          const std::string& folder, std::vector<Setting>& without_effect, Diagnostics& diagnostics);

// Replaces `~`, `~user`, `$NAME` and `${NAME}` in every path of the value (E0118): the value of a path key, `path` of
// dataset entries, `usernames` of `lint`. Other values stay as they are.
void expand_paths(const KeyInfo& key, Setting& setting, const std::string& folder, Diagnostics& diagnostics);

// Stores the value of `setting` in the field of `key`: form E0104, E0106, range E0103, not finite E0110. `folder` is
// what dataset paths are relative to. A null leaves the default. False if there was an error.
bool apply_setting(const KeyInfo& key, const Setting& setting, const std::string& folder, TrainConfig& config,
                   Diagnostics& diagnostics);

// `path` relative to `folder`, without `.` and `..` parts that can be resolved in the text.
std::string path_in(const std::string& folder, const std::string& path);

// The mappings `lint` and `blockml.length_buckets`.
bool read_lint(const Setting& setting, const std::string& folder, LintConfig& lint, Diagnostics& diagnostics);
bool read_length_bounds(const Setting& setting, LengthBounds& bounds, Diagnostics& diagnostics);

// The entries of `datasets` or `test_datasets`.
bool read_datasets(const Setting& setting, const std::string& folder, DatasetList& entries, Diagnostics& diagnostics);

}  // namespace shori
