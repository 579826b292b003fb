#include "src/train/stage/device_memory.h"

#include <algorithm>
#include <string>

#include "shori/train/run_identity.h"
#include "shori/util/byte_size.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/train/plan/host_memory.h"
#include "src/train/plan/host_plan.h"
#include "src/train/plan/stage_options.h"
#include "src/train/screen/log_lines.h"
#include "src/train/screen/start_screen.h"
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

// What `--plan` shows, `--check` counts nothing of, and a start writes to train.log.
void plan_host_memory_of(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  if (options.check) return;
  const std::size_t available = available_host_bytes();
  const auto log = options.plan ? log_info : log_detail;
  const auto threads_of = [](const PreparedStage* stage) { return stage->config.threads.value_or(usable_cores()); };
  for (PreparedStage* stage : stages) {
    stage->host_memory =
        plan_host_memory(memory_demand(*stage), stage->config.activation_memory, available, threads_of(stage));
    log(concat("--- stage ", stage->name, ": CPU memory for ", stage->host_memory->tokens,
               " tokens per micro-batch, bytes ---"));
    log_lines(host_memory_table(*stage->host_memory, available), log);
  }
  if (!options.plan)
    show_memory(stages, concat(device_name(Device::kCpu), ", ", counted(threads_of(stages.front()), "thread")),
                available);
}

// Of stages that share a base.
void plan_base_memory(std::span<PreparedStage* const> stages, const RecipeOptions& options) {
  const TrainConfig& shared = stages.front()->config;
  const bool is_described = options.plan && options.gpu_memory;
  if (!is_described && stage_device(shared) == Device::kCpu) return plan_host_memory_of(stages, options);
  if (is_described) refuse_unsupported(stages);
  const DeviceLimits limits = limits_of(shared, options);
  choose_memory_plans(stages, limits);
  const auto log = options.plan || options.check ? log_info : log_detail;
  for (const PreparedStage* stage : stages) {
    log(concat("--- stage ", stage->name, ": GPU memory for ", stage->memory->tokens,
               " tokens per micro-batch, bytes ---"));
    log_lines(memory_table(*stage->memory, limits), log);
  }
  if (!options.plan && !options.check)
    show_memory(stages, device_name(Device::kCuda), std::min(limits.free_bytes, limits.limit_bytes));
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
