// Runs a recipe from start to end: its stages in order, each from the adapter of the one before. A single stage is a
// recipe of one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "shori/config/load_config.h"

namespace shori {

struct RecipeOptions {
  bool resume = false;
  bool check = false;  // read, tokenize and compare everything and print it; write nothing
  bool plan = false;   // print the stage table with steps, and the memory table of a GPU
  // Bytes and multiprocessors of that GPU if it is not the one in this machine.
  std::optional<std::size_t> gpu_memory;
  int sm_count = 0;
  std::uint64_t profile_first = 0, profile_last = 0;  // steps of each stage whose ops are timed; 0: none
  // Retrain from this stage on. Its old run folder and those of later stages are moved aside as soon as everything that
  // can fail before step 1 has been checked.
  std::string from;
  std::string only;  // train this stage and no other
};

enum class RecipeOutcome { kDone, kStopped };

// For a config with mistakes: adds what is wrong with its bases, data and device as well, as far as they can be read, so
// that one start shows everything.
void check_inputs(const LoadedConfig& config, const RecipeOptions& options, Diagnostics& diagnostics);

// kStopped: a signal requested a stop and the state is saved. Throws Error; a step that was saved is never lost by one.
RecipeOutcome run_recipe(const LoadedConfig& config, const RecipeOptions& options);

}  // namespace shori
