// Trains one stage: from an empty run folder or a checkpoint to adapter/ and done.json.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "shori/train/prepared_stage.h"
#include "src/train/stage/loaded_base.h"
#include "src/train/stage/old_runs.h"

namespace shori {

struct StageRunOptions {
  bool resume = false;
  std::string init_from;                              // run folder, adapter folder or checkpoint; empty: fresh adapter
  std::string resume_command;                         // shown after a stop
  std::string restart_help;                           // shown where no checkpoint is usable
  std::uint64_t later_steps = 0;                      // of the stages that this start trains after this one
  std::optional<double> seconds_left;                 // by the steps of a run before; nullopt: not known
  std::uint64_t profile_first = 0, profile_last = 0;  // steps whose ops are timed, from 1; 0: none
  std::function<void()> on_begin = {};                // called when nothing can refuse the start any more

  bool is_profiled(std::uint64_t step) const { return step >= profile_first && step <= profile_last; }
};

// Returns true if the stage is finished, false if a signal stopped it with its state saved. Holds the lock of the run
// folder meanwhile. `base` is the one an earlier stage loaded, if any, and afterwards the one this stage used.
// `old_runs` are moved aside when everything that can fail before step 1 has been checked. E0507 if another program
// began a run in the folder since the stage was prepared.
bool run_stage(PreparedStage& stage, std::optional<LoadedBase>& base, OldRuns& old_runs,
               const StageRunOptions& options);

}  // namespace shori
