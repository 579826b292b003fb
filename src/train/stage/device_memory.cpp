#include "src/train/stage/device_memory.h"

#include <algorithm>
#include <string>

#include "shori/util/byte_size.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/train/plan/host_memory.h"
#include "src/train/plan/host_plan.h"
#include "src/train/plan/stage_options.h"
#include "src/train/screen/log_lines.h"
#include "src/train/stage/loaded_base.h"

namespace shori {
namespace {

// Of the GPU in this machine, or of the one that the user describes.
DeviceLimits limits_of(const TrainConfig& config, const RecipeOptions& options) {
  DeviceLimits limits;
  if (options.gpu_memory) {
    limits = {*options.gpu_memory, *options.gpu_memory, options.sm_count};
  } else {
    const DeviceInfo& info = open_device();
    // The plan counts what the driver allocated for this process when the device was opened.
    limits = {std::min(info.total_bytes, info.free_bytes + kDriverBytes), info.total_bytes, info.sm_count};
  }
  if (const auto limit = parse_byte_size(config.gpu_memory_limit)) {
    limits.limit_bytes = std::min(limits.limit_bytes, *limit);
  }
  return limits;
}

void refuse_unsupported(std::span<PreparedStage* const> stages) {
  for (const PreparedStage* stage : stages) {
    Diagnostics diagnostics;
    check_device_support(*stage, diagnostics);
    diagnostics.throw_if_errors();
  }
}

void log_host_memory(std::span<PreparedStage* const> stages) {
  const std::size_t available = available_host_bytes();
  for (const PreparedStage* stage : stages) {
    const TrainConfig& config = stage->config;
    const MemoryPlan plan = plan_host_memory(memory_demand(*stage), config.activation_memory, available,
                                             config.threads.value_or(usable_cores()));
    log_info(concat("--- stage ", stage->name, ": CPU memory for ", plan.tokens, " tokens per micro-batch, bytes ---"));
    log_lines(host_memory_table(plan, available));
  }
}

// Of stages that share a base.
void plan_base_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  const TrainConfig& shared = stages.front()->config;
  const bool is_described = options.plan && options.gpu_memory;
  if (!is_described && stage_device(shared) == Device::kCpu) {
    if (options.plan) log_host_memory(stages);
    return;
  }
  if (is_described) refuse_unsupported(stages);
  const DeviceLimits limits = limits_of(shared, options);
  choose_memory_plans(stages, limits);
  const auto log = options.plan || options.check ? log_info : log_detail;
  for (const PreparedStage* stage : stages) {
    log_screen(concat("memory     ", stage->name, ": ", format_gib(stage->memory->total_bytes), " of the GPU"));
    log(concat("--- stage ", stage->name, ": GPU memory for ", stage->memory->tokens,
               " tokens per micro-batch, bytes ---"));
    log_lines(memory_table(*stage->memory, limits), log);
  }
}

}  // namespace

void plan_device_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  while (!stages.empty()) {
    const std::string key = base_key(stages.front()->config);
    const auto other =
        std::ranges::find_if(stages, [&](const PreparedStage* stage) { return base_key(stage->config) != key; });
    const auto count = static_cast<std::size_t>(other - stages.begin());
    plan_base_memory(stages.first(count), options);
    stages = stages.subspan(count);
  }
}

}  // namespace shori
