// Trains one stage: from an empty run folder or a checkpoint to adapter/ and done.json.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "shori/model/mistral.h"
#include "shori/train/prepared_stage.h"

namespace shori {

// The frozen base on the device, shared by the stages of a recipe that use it.
struct LoadedBase {
  std::unique_ptr<DeviceMemory> memory;  // of a device; outlives all below
  struct {
    DeviceArena::Mark device, pinned;
  } stage_begin;                         // what lies behind is the stage's
  std::unique_ptr<LoraAdapter> adapter;  // filled anew by each stage; outlives the model
  std::unique_ptr<Mistral> model;
  BaseChecksums checksums;  // of the frozen weights in memory, taken after loading
  std::string fingerprint;  // of the 16-bit weights
  std::string key;          // folder and settings it was loaded with
};

struct TrainerOptions {
  bool resume = false;
  std::string resume_command;                         // printed when stopped
  std::uint64_t profile_first = 0, profile_last = 0;  // steps whose ops are timed, from 1; 0: none
  std::string init_from;  // run folder, adapter folder or checkpoint; empty: a fresh adapter
  // Called when all that can fail before step 1 has been checked, before the stage's first write: it moves folders of
  // older runs away.
  std::function<void()> make_room = [] {};
  bool folder_is_old = false;  // the stage's folder is one of those: nothing is written there before
};

// true: finished; false: stopped by a signal with the state saved. Takes the stage's run lock.
bool train_stage(PreparedStage& stage, LoadedBase& base, const TrainerOptions& options);

}  // namespace shori
