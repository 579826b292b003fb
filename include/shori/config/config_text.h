// A config as text: canonical JSON and its hash, the printed form, the differences between two, and the list of all
// keys.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "shori/config/load_config.h"
#include "shori/config/train_config.h"
#include "shori/util/json.h"

namespace shori {

// Which keys canonical_config() writes. Nested keys are written flat, with a dot: "blockml.eos".
enum class ConfigScope {
  kNumeric,   // numeric keys, and type, field and rating of each dataset: what config_hash covers
  kPortable,  // numeric and output keys and the data, no path: for files whose bytes must not depend on where a run lies
  kComplete,  // every key, with paths
};

// Canonical JSON: keys sorted, reals as the 16 hex digits of their bits, words as in YAML, unset keys as null.
std::string canonical_config(const TrainConfig& config, ConfigScope scope);

// SHA-256 (64 hex digits) of the numeric scope. Stages, names, paths and file contents are not part of it, so that a
// stage of a recipe and the same stage as a file of its own have one hash.
std::string config_hash(const TrainConfig& config);

// One key whose value differs. Values as a person would write them; "(not recorded)" if the stored config lacks the
// key.
struct ConfigDifference {
  std::string key;
  KeyClass key_class;
  std::string stored;
  std::string present;
};

// Compares a parsed canonical_config() of any scope with `present`, in the order of the keys. Only keys of the stored
// scope count: a missing numeric key is a difference, a missing output or place key is not.
std::vector<ConfigDifference> config_differences(const JsonValue& stored, const TrainConfig& present);

// Whether a run may go on with `present`: `record` (run.json, done.json or the manifest of a checkpoint) has its config
// as `config` and the hash of that as `config_hash`. Equal hashes suffice. Where they differ the keys decide, because
// an earlier version of the program may have counted other keys as numeric.
bool has_numbers_of(const JsonValue& record, const TrainConfig& present);

// The resolved config as YAML that could be used as a config file; defaults and values from `--set` carry a comment.
std::string resolved_config_text(const StageConfig& stage);

// A text as a YAML scalar that reads back as this text.
std::string yaml_text(const std::string& text);

// Keys that were chosen, by the file, an option or other keys, with their values as in the resolved config. Data sets and keys
// without effect are not among them.
std::vector<std::pair<std::string, std::string>> chosen_settings(const StageConfig& stage);

// Every key with its values, default, class and meaning: as plain text, and as a Markdown table.
std::string help_keys_text();
std::string help_keys_markdown();

}  // namespace shori
