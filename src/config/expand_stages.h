// From the settings of a file to the resolved stages of a run or a recipe.
#pragma once

#include <optional>

#include "src/config/settings.h"

namespace shori {

struct StageItem {
  SourceLocation location;
  Settings settings;
};

// What one config file and its overrides say, before defaults and stages.
struct RecipeSource {
  const YamlDocument* document = nullptr;
  Settings shared;
  Settings overrides;
  std::optional<YamlNode> stages_key;  // the key `stages`, if it has a value
  std::vector<StageItem> items;        // its members
};

// Fills name, output_dir, is_recipe, stages and notes of `loaded`.
void expand_recipe(RecipeSource& source, LoadedConfig& loaded, Diagnostics& diagnostics);

}  // namespace shori
