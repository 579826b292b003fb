// Which activations a run on a CPU saves: as many as fit in the memory that is free when the stage begins. The results are
// the same bytes whatever is saved, so the choice may follow the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shori/config/vocabulary.h"
#include "shori/model/checkpointing_policy.h"

namespace shori {

// Bytes that this process may still allocate: MemAvailable of /proc/meminfo, or what a control group of the process leaves if
// that is less. 0 where neither can be read.
std::size_t available_host_bytes();
// The same, from another root folder than "/", for tests.
std::size_t available_host_bytes(const std::string& root);

// Bytes that one layer saves in addition to its input.
struct SavedBytes {
  std::size_t attention = 0;  // Recompute::kMlp
  std::size_t whole = 0;      // Recompute::kNone
};

// `auto` uses four fifths of `available`: the last layers are saved whole, the next ones with their attention, the rest is
// recomputed. The last layers come first because the backward pass needs them first.
CheckpointingPolicy choose_host_checkpointing(std::int64_t layers, const SavedBytes& bytes, ActivationMemory choice,
                                              std::size_t available);

}  // namespace shori
