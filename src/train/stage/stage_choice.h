// Which stages of a recipe a command trains, and what it refuses to decide without the user.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "shori/train/prepared_stage.h"
#include "shori/train/recipe.h"

namespace shori {

// Indices of the stages that `--from` and `--only` name; the number of stages if an option is not given.
struct StageChoice {
  std::size_t count = 0, from = 0, only = 0;

  bool contains(std::size_t stage) const { return only == count || stage == only; }
  bool retrains(std::size_t stage) const { return stage >= from; }
};

// E0117 for a name that no stage has.
StageChoice choose_stages(const std::vector<PreparedStage>& stages, const RecipeOptions& options);

// Run folder, adapter folder or checkpoint that a stage begins from; empty: a fresh adapter.
std::string source_of(const std::vector<PreparedStage>& stages, const PreparedStage& stage);

// The whole command that trains the config with these further options, ready to be pasted into a shell:
// "shori-train recipe.yaml --set device=cpu --resume".
std::string command_for(const LoadedConfig& config, const std::vector<std::string>& options);
// What to do where nothing of a stage can be resumed: training it by its name moves its folder aside, whatever is in it.
std::string help_to_retrain(const LoadedConfig& config, const PreparedStage& stage);
// The command that continues the run that `options` began.
std::string resume_command_for(const LoadedConfig& config, const RecipeOptions& options);

// Checks, before a weight is loaded or a folder moved, that every chosen stage can be trained as the command says. E0506
// if there is nothing to resume; E0504, E0508, E0516, E0517 for a stage that changed; E0507 for an interrupted one without --resume
// and for a folder with remains of a run; E0510 if the adapter to begin from does not exist.
void check_choice(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const StageChoice& choice,
                  const RecipeOptions& options);

}  // namespace shori
