// The configs that are shipped load as they are, and the stage files are the stages of the recipe.
#include <algorithm>
#include <cstdlib>

#include "shori/config/config_text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

LoadedConfig load_shipped(const std::string& name) {
  const char* source = std::getenv("SHORI_SOURCE_DIR");
  EXPECT_NE(source, nullptr) << "SHORI_SOURCE_DIR names the top folder of the sources";
  Diagnostics diagnostics;
  LoadedConfig loaded =
      load_config(std::string(source == nullptr ? "." : source) + "/configs/" + name, {}, diagnostics);
  for (const Diagnostic& diagnostic : diagnostics.all()) ADD_FAILURE() << format_diagnostic(diagnostic);
  return loaded;
}

TEST(ShippedConfigs, StageFilesAreTheStagesOfTheRecipe) {
  const LoadedConfig recipe = load_shipped("shori.yaml");
  ASSERT_EQ(recipe.stages.size(), kCategories.size());
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageConfig& stage = recipe.stages[i];
    EXPECT_EQ(stage.name, kCategories[i]);
    std::string name = stage.name;
    std::replace(name.begin(), name.end(), '-', '_');
    const LoadedConfig single = load_shipped("stage_" + name + ".yaml");
    ASSERT_EQ(single.stages.size(), 1u);
    const TrainConfig& config = single.stages[0].config;
    EXPECT_EQ(config_hash(config), config_hash(stage.config)) << stage.name;
    EXPECT_EQ(config.name, stage.name);
    EXPECT_EQ(config.output_dir, stage.config.output_dir);
    EXPECT_EQ(config.datasets.at(0).resolved_path, stage.config.datasets.at(0).resolved_path);
    EXPECT_EQ(config.init_from, i == 0 ? "" : recipe.stages[i - 1].config.output_dir);
  }
}

TEST(ShippedConfigs, QuickStart) {
  const LoadedConfig loaded = load_shipped("quickstart/quickstart.yaml");
  ASSERT_EQ(loaded.stages.size(), kCategories.size());
  EXPECT_EQ(loaded.stages[0].config.test_datasets.size(), 1u);
}

}  // namespace
}  // namespace shori
