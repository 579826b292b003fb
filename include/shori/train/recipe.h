// A recipe from start to end: which stages to train, in order, each from its predecessor's adapter. A single stage is a
// recipe of one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "shori/config/load_config.h"

namespace shori {

struct RecipeOptions {
  bool resume = false;
  bool check = false;                     // read, tokenize and compare everything, print it, write nothing
  bool plan = false;                      // the stage table with steps, and the memory table of a GPU
  std::optional<std::size_t> gpu_memory;  // of that GPU, with its multiprocessors, where it is not the one here
  int sm_count = 0;
  std::uint64_t profile_first = 0, profile_last = 0;  // steps of each stage whose ops are timed; 0: none
  // Retrain from this stage on. The old run folders of it and later ones are set aside once all that can fail before
  // step 1 has been checked.
  std::string from;
  std::string only;  // train this stage and no other
};

enum class RecipeOutcome { kDone, kStopped };

// Errors are thrown; nothing of a finished or saved step is lost by one. kStopped: a signal asked to stop, the state is
// saved.
RecipeOutcome run_recipe(const LoadedConfig& config, const RecipeOptions& options);

}  // namespace shori
