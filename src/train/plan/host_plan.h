// The memory that a stage takes on the CPU, before anything is loaded: for `--plan`. A run itself decides by what is free
// once the base is loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shori/config/vocabulary.h"
#include "shori/train/memory_plan.h"

namespace shori {

// The plan's lines are the arrays that a run allocates, which are exact, and an estimate of what the ops take beside them.
MemoryPlan plan_host_memory(const MemoryDemand& demand, ActivationMemory choice, std::size_t available,
                            std::int64_t threads);

// Lines "category  bytes  GiB", the sum, what is free now, and which activations are saved.
std::string host_memory_table(const MemoryPlan& plan, std::size_t available);

}  // namespace shori
