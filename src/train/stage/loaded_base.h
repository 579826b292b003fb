// The base model in memory with an adapter over it: loaded once, then used by every stage of a recipe that needs the
// same one.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "shori/model/mistral.h"
#include "shori/train/prepared_stage.h"

namespace shori {

struct LoadedBase {
  std::string key;  // base_key() of the stages that can use it

  // In the order of their construction: the model refers to the adapter, and both lie in `memory`.
  std::unique_ptr<DeviceMemory> memory;           // null on the CPU
  std::size_t arena_bytes = 0, pinned_bytes = 0;  // of `memory`
  std::unique_ptr<LoraAdapter> adapter;           // each stage fills it with its own values
  std::unique_ptr<Mistral> model;

  std::string fingerprint;  // of the 16-bit weights
  BaseChecksums checksums;  // of the frozen weights in memory, taken after loading

  // Fill marks of the arenas after loading. Everything allocated past them belongs to the stage in training and is
  // released before the next one.
  DeviceArena::Mark device_mark, pinned_mark;
};

// Stages with equal keys can share a loaded base: device, folder, precision, shape of the adapter, memory limit.
std::string base_key(const TrainConfig& config);

// Makes `base` the one that `stage` needs, with buffers for its longest micro-batch. A base that an earlier stage loaded
// is kept if the keys are equal and its memory suffices for the stage, else it is released and the stage's own is
// loaded. Errors: those of load_mistral(), and E0405 if a GPU has less free memory than when the stage was planned.
LoadedBase& prepare_base(const PreparedStage& stage, std::optional<LoadedBase>& base);

}  // namespace shori
