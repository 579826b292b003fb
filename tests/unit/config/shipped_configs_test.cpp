// The configs that are shipped load as they are, and the stage files are the stages of the recipe.
#include <algorithm>
#include <array>
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

// What the recipe trains with, in every stage: the lines of the resolved config that are no defaults.
constexpr const char* kRecipeValues[] = {
    "val_set_size: 0",
    "excess_length_strategy: raise",
    "load_in_4bit: true",
    "adapter: qlora",
    "lora_r: 20",
    "lora_alpha: 16",
    "lora_dropout: 0.1",
    "lora_target_linear: true",
    "lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]",
    "sequence_len: 16384",
    "sample_packing: true",
    "pad_to_sequence_len: false",
    "micro_batch_size: 1",
    "gradient_accumulation_steps: 2",
    "num_epochs: 2",
    "optimizer: adamw_bnb_8bit",
    "lr_scheduler: constant",
    "weight_decay: 0.05",
    "train_on_inputs: true",
    "bf16: true",
    "fp16: false",
    "tf32: true",
    "eval_batch_size: 1",
};

TEST(ShippedConfigs, EveryStageHasTheValuesOfTheRecipe) {
  constexpr std::array<double, 5> rates = {7.25e-5, 5.5e-5, 3.75e-5, 3.5e-5, 3.5e-5};
  const LoadedConfig recipe = load_shipped("shori.yaml");
  ASSERT_EQ(recipe.stages.size(), rates.size());
  for (std::size_t i = 0; i < rates.size(); ++i) {
    EXPECT_EQ(recipe.stages[i].config.learning_rate, rates[i]);
    const std::string text = resolved_config_text(recipe.stages[i]);
    for (const std::string value : kRecipeValues) {
      const bool there =
          text.find("\n" + value + "\n") != std::string::npos || text.find("\n" + value + " ") != std::string::npos;
      EXPECT_TRUE(there) << value << " is not in\n" << text;
    }
  }
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
    EXPECT_EQ(config.init_from, i == 0 ? "" : recipe.stages[i - 1].config.output_dir);
    TrainConfig in_recipe = stage.config;  // begins from the stage before without naming it
    in_recipe.init_from = config.init_from;
    EXPECT_EQ(canonical_config(config, ConfigScope::kComplete), canonical_config(in_recipe, ConfigScope::kComplete));
  }
}

TEST(ShippedConfigs, QuickStart) {
  const LoadedConfig loaded = load_shipped("quickstart/quickstart.yaml");
  ASSERT_EQ(loaded.stages.size(), kCategories.size());
  EXPECT_EQ(loaded.stages[0].config.test_datasets.size(), 1u);
}

}  // namespace
}  // namespace shori
