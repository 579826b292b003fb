// The device memory that a stage needs, known before anything is loaded. What the program allocates itself is counted by
// the code that allocates it, run in an arena that only adds up sizes, so plan and use agree to the byte. What libtorch
// and the driver allocate has lines of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// The driver's context with all kernels: an estimate, because it depends on the card.
inline constexpr std::size_t kDriverBytes = std::size_t{512} << 20;

// Facts of a device, read from the one that is open or given by the user.
struct DeviceLimits {
  std::size_t free_bytes = 0;   // that this process can have, including what the driver's context took already
  std::size_t limit_bytes = 0;  // total, or gpu_memory_limit if that is less
  int sm_count = 0;             // multiprocessors
};

// Size of a micro-batch.
struct PackShape {
  std::int64_t tokens = 0;    // with padding
  std::int64_t segments = 0;  // samples, and the padding of a row as one
  auto operator<=>(const PackShape&) const = default;
};

// Everything that the memory of a stage depends on.
struct MemoryDemand {
  MistralConfig model;
  WeightFormat format;  // of the base
  LoraSettings lora;
  AdamOptions adam;
  MatmulKernel matmul = MatmulKernel::kAuto;  // without effect on memory
  std::int64_t positions = 0;                 // longest segment, at least sequence_len
  std::vector<PackShape> packs;               // every shape of the stage, evaluation included
  std::int64_t sample_context = 0;            // tokens in the cache of the samples; 0: none
  std::size_t least_attention = 0;  // what libtorch's allocator may hold from another stage that shares the base
  std::int64_t tokens() const;      // of the longest pack
};
MemoryDemand memory_demand(const PreparedStage& stage);

struct MemoryPlan {
  std::int64_t tokens = 0, positions = 0;  // for which buffers are reserved
  CheckpointingPolicy checkpointing;
  std::string decoding;                  // how often a device decodes the frozen weights, in words
  std::vector<DeviceArena::Line> lines;  // of the arena, then of everything outside of it
  std::size_t attention_bytes = 0;       // the line of libtorch's temporaries
  std::size_t arena_bytes = 0;           // of this stage
  std::size_t pinned_bytes = 0;          // page-locked host memory of this stage
  // Maximum of both over the stages that share the base: the size of the arenas.
  std::size_t base_arena_bytes = 0, base_pinned_bytes = 0;
  std::size_t total_bytes = 0;  // sum of the lines: the device memory of the process
};
// What the backward pass finds saved, in words: "8 layers recomputed, 24 layers kept whole".
std::string checkpointing_text(const CheckpointingPolicy& policy);

MemoryPlan plan_memory(const MemoryDemand& demand, const CheckpointingPolicy& checkpointing, int sm_count);

// The plan under one `activation_memory`. `auto` saves as much as fits: the attention of all layers and everything of
// the last n layers, else nothing. Under each, the frozen weights are decoded once in a pass of a layer where the memory
// suffices, and where all layers are kept whole, so is a longer tile of the MLP. The plan may not fit.
MemoryPlan plan_for(const MemoryDemand& demand, ActivationMemory choice, const DeviceLimits& limits);
// `plan` with one layer less kept, for a device that has less than it reported: a whole layer keeps its attention only, and
// where none is kept whole, one that keeps its attention keeps nothing. Tiles of the MLP have their usual length again. The
// stage no longer shares its arena. Empty if the plan keeps nothing.
std::optional<MemoryPlan> keep_one_layer_less(MemoryDemand demand, const MemoryPlan& plan, int sm_count);
bool fits(const MemoryPlan& plan, const DeviceLimits& limits);

// Stages that train one after the other on one loaded base share its arena, which has the size that the largest of them
// needs. libtorch's allocator keeps what the attention of any of them allocated, so each must fit beside the largest
// attention.
void share_attention(std::span<MemoryDemand> demands, int sm_count);

// Sets `memory` of stages that share a base. E0401 if one does not fit, with its lines and what would fit.
void choose_memory_plans(std::span<PreparedStage* const> stages, const DeviceLimits& limits);

// Adds the lines of a plan as notes.
void note_memory_lines(const MemoryPlan& plan, Diagnostic& diagnostic);

// "category  bytes  GiB", and these lines of a plan with their sum.
std::string memory_line(std::string_view name, std::size_t bytes);
std::string memory_lines(const MemoryPlan& plan);

// Lines "category  bytes  GiB", the sum, which activations are saved, and the page-locked host memory.
std::string memory_table(const MemoryPlan& plan, const DeviceLimits& limits);

// Adds an E0107 for each key, and an E0406 for each size of the model, that the device versions of the ops do not
// support.
void check_device_support(const PreparedStage& stage, Diagnostics& diagnostics);

}  // namespace shori
