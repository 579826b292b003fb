#include "src/train/stage/loaded_base.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "shori/model/load_mistral.h"
#include "shori/ops/cpu_isa.h"
#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/train/plan/host_memory.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

int thread_count(const TrainConfig& config) { return static_cast<int>(config.threads.value_or(usable_cores())); }

// Without a `gpu_memory_limit` the limit of an earlier stage must not stay in force.
void limit_memory_of(const TrainConfig& config) {
  const auto limit = parse_byte_size(config.gpu_memory_limit);
  limit_device_memory(limit ? *limit - std::min(*limit, kDriverBytes) : open_device().total_bytes);
}

// Another program may have taken memory since the run was planned.
std::unique_ptr<DeviceMemory> reserve_memory(const MemoryPlan& plan) {
  try {
    return std::make_unique<DeviceMemory>(
        DeviceMemory{{ArenaKind::kDevice, plan.base_arena_bytes}, {ArenaKind::kPinned, plan.base_pinned_bytes}});
  } catch (const Error& error) {
    if (error.code() != "E0401") throw;
    throw Error(Diagnostic("E0405", concat("the GPU no longer has ", format_bytes(plan.base_arena_bytes),
                                           " in one block, which were free when the run was planned"))
                    .note(error.diagnostics().front().message)
                    .help("stop the other program, or set `gpu_memory_limit` to what is left"));
  }
}

LoadOptions load_options(const TrainConfig& config, DeviceMemory* memory, Progress& progress) {
  LoadOptions options;
  options.activation = activation_dtype(config);
  options.quantize = config.load_in_4bit;
  options.threads = thread_count(config);
  options.arena = memory != nullptr ? &memory->device : nullptr;
  options.nf4_cache = config.nf4_cache;
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) {
    progress.update(concat("loading the base: ", format_bytes(done), " of ", format_bytes(total)));
  };
  return options;
}

// On a device everything lies in one arena, in the order that plan_memory() assumes.
LoadedBase load_base(const PreparedStage& stage) {
  Progress progress(5);
  LoadedBase base;
  base.key = base_key(stage.config);
  if (stage.memory) {
    base.memory = reserve_memory(*stage.memory);
    base.arena_bytes = stage.memory->base_arena_bytes;
    base.pinned_bytes = stage.memory->base_pinned_bytes;
  }
  const LoadOptions options = load_options(stage.config, base.memory.get(), progress);
  MistralWeights weights = load_mistral(*stage.base->model, options);
  base.fingerprint = weights.fingerprint;
  if (weights.zero_blocks > 0)
    log_info(concat(weights.zero_blocks, " quantization blocks of the base hold only zeros"));
  base.adapter =
      std::make_unique<LoraAdapter>(weights.config, lora_settings(stage.config), options.activation, base.memory.get());
  base.model = std::make_unique<Mistral>(std::move(weights), base.adapter.get(), base.memory.get());
  if (base.memory) {
    base.device_mark = base.memory->device.mark();
    base.pinned_mark = base.memory->pinned.mark();
  }
  progress.finish(concat("base loaded: ", format_bytes(base.model->weights().bytes()), ", adapter ",
                         base.adapter->parameter_count(), " parameters"));
  return base;
}

// The base is loaded and the buffers of an earlier stage are released, so what is available now is what can be saved.
void reserve_host_buffers(const PreparedStage& stage, Mistral& model) {
  const std::int64_t tokens = stage.plan.longest_micro_batch();
  const SavedBytes bytes = {model.saved_bytes(tokens, Recompute::kMlp), model.saved_bytes(tokens, Recompute::kNone)};
  const std::size_t available = available_host_bytes();
  const CheckpointingPolicy policy =
      choose_host_checkpointing(model.layer_count(), bytes, stage.config.activation_memory, available);
  log_info(concat("backward pass: ", checkpointing_text(policy), "; a whole layer takes ", format_bytes(bytes.whole),
                  ", ", format_bytes(available), " are free"));
  model.set_checkpointing(policy);
  model.reserve(tokens, stage.config.sequence_len, true);
}

void reserve_buffers(const PreparedStage& stage, LoadedBase& base) {
  base.model->release();
  if (!base.memory) return reserve_host_buffers(stage, *base.model);
  base.memory->device.release_to(base.device_mark);
  base.memory->pinned.release_to(base.pinned_mark);
  log_detail(concat("frozen weights: ", stage.memory->decoding));
  base.model->set_checkpointing(stage.memory->checkpointing);
  base.model->reserve(stage.memory->tokens, stage.memory->positions, true);
}

}  // namespace

std::string base_key(const TrainConfig& config) {
  std::string key = concat(stage_device(config) == Device::kCpu ? "cpu " : "device ", config.base_model);
  key += concat(config.bf16 ? " bf16" : " fp32", config.load_in_4bit ? " nf4" : " dense");
  key += concat(" r", config.lora_r, " a", config.lora_alpha);
  for (const std::string& target : config.lora_target_modules) key += " " + target;
  return key + " " + config.gpu_memory_limit;
}

namespace {

bool serves(const LoadedBase& base, const PreparedStage& stage) {
  if (base.key != base_key(stage.config)) return false;
  return !stage.memory ||
         (stage.memory->arena_bytes <= base.arena_bytes && stage.memory->pinned_bytes <= base.pinned_bytes);
}

void log_processor(const TrainConfig& config) {
  log_info(concat("CPU: ", counted(thread_count(config), "thread"), ", instruction set ", name_of(cpu_isa())));
  if (cpu_support().tiles_refused) log_info("the processor has AMX, but the system does not let this program use it");
}

}  // namespace

LoadedBase& prepare_base(const PreparedStage& stage, std::optional<LoadedBase>& base) {
  if (base && !serves(*base, stage)) base.reset();
  at::set_num_threads(thread_count(stage.config));
  if (stage.memory) limit_memory_of(stage.config);
  const bool must_load = !base;
  if (must_load && !stage.memory) log_processor(stage.config);
  if (must_load) base.emplace(load_base(stage));
  reserve_buffers(stage, *base);
  if (must_load) {
    wait_for_device(base->model->ops());
    base->checksums = checksum_base(base->model->ops(), base->model->weights());
  }
  return *base;
}

}  // namespace shori
