// The device memory that a stage needs, known before anything is loaded. Everything of our own is added up by running
// the code that makes it in planning memory, so plan and use agree to the byte; what libtorch and the driver take
// beside it has lines of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/config/train_config.h"
#include "shori/model/checkpointing_policy.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/optim/adamw8bit.h"
#include "shori/util/device_arena.h"
#include "shori/util/error.h"

namespace shori {

struct PreparedStage;

// The driver's context with our kernels and libtorch's: an estimate, since it cannot be known without the card.
inline constexpr std::size_t kDriverBytes = std::size_t{512} << 20;

// What is known of the device. From an opened one, or said by the user.
struct DeviceLimits {
  std::size_t free_bytes = 0;   // for this process to take, what it took for the device itself included
  std::size_t limit_bytes = 0;  // total, or gpu_memory_limit where that is less
  int sm_count = 0;             // multiprocessors
};

// One kind of micro-batch.
struct PackShape {
  std::int64_t tokens = 0;    // with padding
  std::int64_t segments = 0;  // samples and padding
  auto operator<=>(const PackShape&) const = default;
};

// Everything that decides the need of a stage.
struct MemoryDemand {
  MistralConfig model;
  WeightFormat format;  // of the base
  LoraSettings lora;
  AdamOptions adam;
  std::int64_t positions = 0;       // longest segment, at least sequence_len
  std::vector<PackShape> packs;     // every shape of the stage, evaluation included
  std::size_t least_attention = 0;  // what libtorch may hold from another stage that shares the base
  std::int64_t tokens() const;      // of the longest
};
MemoryDemand memory_demand(const PreparedStage& stage);

struct MemoryPlan {
  std::int64_t tokens = 0, positions = 0;  // what is reserved
  CheckpointingPolicy checkpointing;
  std::vector<DeviceArena::Line> lines;  // what the arena holds, then everything beside it
  std::size_t arena_bytes = 0;
  std::size_t pinned_bytes = 0;                             // of the host
  std::size_t base_arena_bytes = 0, base_pinned_bytes = 0;  // the most of the stages that share the base
  std::size_t total_bytes = 0;                              // sum of the lines: the process's device memory
};
MemoryPlan plan_memory(const MemoryDemand& demand, const CheckpointingPolicy& checkpointing, int sm_count);

// The plan under one `activation_memory`; `auto` keeps as much as fits: the attention of all layers, then the last n
// layers whole, else nothing. It may not fit.
MemoryPlan plan_for(const MemoryDemand& demand, ActivationMemory choice, const DeviceLimits& limits);
bool fits(const MemoryPlan& plan, const DeviceLimits& limits);

// Stages that train one after the other over one base in memory share its arena, which is as large as the largest of
// them needs, and libtorch keeps what the attention of any of them took: each must fit beside the largest attention.
void share_attention(std::span<MemoryDemand> demands, int sm_count);

// Plans stages that share a base, each under its config. E0401 with the table and what would fit.
void choose_memory_plans(std::span<PreparedStage* const> stages, const DeviceLimits& limits);

// The lines of a plan as notes.
void note_memory_lines(const MemoryPlan& plan, Diagnostic& diagnostic);

// Lines "category  bytes  GiB", the sum, what is kept, and the page-locked host memory.
std::string memory_table(const MemoryPlan& plan, const DeviceLimits& limits);

// What the device versions of the ops cannot do of this stage: E0107 for a key, E0406 for the shape of the model.
void check_device_support(const PreparedStage& stage, Diagnostics& diagnostics);

}  // namespace shori
