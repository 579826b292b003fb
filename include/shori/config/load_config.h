// From a YAML file and `--set` overrides to one resolved TrainConfig per stage.
//
// A file is one stage or a recipe. A recipe has `stages:`, or `learning_rate: a -> b -> c` with a category on each
// dataset entry: the categories are then the stages, and the last rate serves those that remain. Their order is that of
// `category_order`, else of kCategories if all are of it, else of their first entries.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shori/config/train_config.h"
#include "shori/util/error.h"

namespace shori {

// Where the value of a key comes from.
struct ValueOrigin {
  enum class Kind { kDefault, kLeftEmpty, kFile, kStage, kSet, kDerived };
  Kind kind = Kind::kDefault;
  SourceLocation location;   // of the key, or of the value if it is a scalar; the file is "--set" for an override
  std::string written = {};  // the line as it was written, where the value is what it means: "bf16: auto"; else empty
};

// Settings that count by the length of the run. resolve_shares() makes numbers of steps of them.
struct RunShares {
  std::optional<double> warmup;                            // of all steps, rounded down: warmup_steps
  std::optional<double> save;                              // of all steps, rounded up: save_steps
  std::optional<double> saves_per_epoch, evals_per_epoch;  // save_steps, eval_steps
};

struct StageConfig {
  std::string name;
  TrainConfig config;
  // Index of the stage whose finished adapter this one begins from; -1: init_from or a fresh adapter.
  int previous_stage = -1;
  bool in_recipe = false;                      // also of a recipe with one stage
  std::map<std::string, ValueOrigin> origins;  // keys with a value of their own; the others have their default

  RunShares shares;
  // max_steps without num_epochs: epochs are repeated until so many steps are done, as in Axolotl and transformers.
  bool repeat_epochs = false;
  std::vector<std::string> accepted;  // Axolotl keys without effect, one line for each kind

  ValueOrigin origin(const std::string& key) const;
  bool is_set(const std::string& key) const;  // neither left out nor left empty
};

struct LoadedConfig {
  std::string file;                    // as given
  std::vector<std::string> overrides;  // the texts of `--set`, as given
  std::string folder;                  // relative paths in the config begin here
  std::string name;                    // of the recipe, or of the one stage
  bool is_recipe = false;
  std::string output_dir;  // of the recipe, or of the one stage
  std::vector<StageConfig> stages;
  std::vector<Diagnostic> warnings;  // W0101: keys that do nothing beside the values of others
  std::vector<std::string> notes;    // facts to print once, such as Axolotl keys that were accepted without effect
};

// Reads and checks everything that needs no other file. Problems (E0101-E0107, E0109-E0115) go to `diagnostics`; the
// result may be used only if there are none. `set_overrides` are texts `key=value`: they replace a key of the file, or
// the shared key of a recipe, and are refused for a key that a stage sets itself; `STAGE.key=value` replaces that. `blockml.eos=never` names a nested
// key; values are YAML.
LoadedConfig load_config(const std::string& path, const std::vector<std::string>& set_overrides,
                         Diagnostics& diagnostics);

// Fills warmup_steps, save_steps and eval_steps from `stage.shares`, for a run of `steps` optimizer steps, of which the
// first epoch has `steps_per_epoch`.
void resolve_shares(StageConfig& stage, std::int64_t steps, std::int64_t steps_per_epoch);

// E0107 for folders that lie in one another: the run folder in the data, the base model or `init_from`, or one of them in
// the run folder. Links are resolved. After find_base_models().
void check_folders(const LoadedConfig& loaded, Diagnostics& diagnostics);

// Replaces each stage's `base_model` by the folder that it names: relative to the config file's folder, or for an id
// `org/name` the snapshot in the local Hugging Face cache (hub_cache.h). E0108 otherwise. Nothing is downloaded.
void find_base_models(LoadedConfig& loaded, Diagnostics& diagnostics);

// The same for one model given on the command line, as `option`: a folder, or an id in the cache.
std::string find_base_folder(const char* option, const std::string& written);

}  // namespace shori
