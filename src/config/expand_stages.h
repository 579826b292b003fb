// From the settings of a file to the resolved stages of a run or a recipe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "src/config/settings.h"

namespace shori {

struct StageItem {
  SourceLocation location;
  Settings settings;
};

// `--set STAGE.key=value`.
struct StageOverride {
  std::string stage;
  Setting setting;
  bool used = false;
};

// What one config file and its overrides say, before defaults and stages.
struct RecipeSource {
  const YamlDocument* document = nullptr;
  Settings shared;
  Settings overrides;
  std::vector<StageOverride> stage_overrides;
  std::optional<YamlNode> stages_key;  // the key `stages`, if it has a value
  std::vector<StageItem> items;        // its members
};

// E0107: keys that belong to the recipe as a whole.
void refuse_keys_of_the_recipe(const std::vector<StageOverride>& overrides, Diagnostics& diagnostics);
// E0117: names that no stage has.
void refuse_unused_overrides(const std::vector<StageOverride>& overrides, const std::vector<StageConfig>& stages,
                             Diagnostics& diagnostics);

// Fills name, output_dir, is_recipe, stages and notes of `loaded`.
void expand_recipe(RecipeSource& source, LoadedConfig& loaded, Diagnostics& diagnostics);

}  // namespace shori
