// How a stage gets its base: loaded unless an earlier stage did, on a device in memory planned for it, and rehearsed.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>

#include "shori/model/load_mistral.h"
#include "shori/ops/attention.h"
#include "shori/ops/matmul_choices.h"
#include "shori/ops/packed_batch.h"
#include "shori/util/byte_size.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/threads.h"
#include "src/train/plan/attention_memory.h"
#include "src/train/plan/make_batch.h"
#include "src/train/plan/stage_options.h"
#include "src/train/stage/stage_trainer.h"

namespace shori {
namespace {

int thread_count(const TrainConfig& config) { return static_cast<int>(config.threads.value_or(usable_cores())); }

// What was planned, unless it is no longer there.
std::unique_ptr<DeviceMemory> reserve_memory(const MemoryPlan& plan) {
  try {
    return std::make_unique<DeviceMemory>(
        DeviceMemory{{ArenaKind::kDevice, plan.base_arena_bytes}, {ArenaKind::kPinned, plan.base_pinned_bytes}});
  } catch (const Error& error) {
    if (error.code() != "E0401") throw;
    throw Error(Diagnostic("E0405", "the GPU has no " + format_bytes(plan.base_arena_bytes) +
                                        " in one piece any more, which were free when the run was planned")
                    .note(error.diagnostics().front().message)
                    .help("stop the other program, or set `gpu_memory_limit` to what is left"));
  }
}

}  // namespace

// Loads the base, and makes the adapter and the model over it. On a device all of it lies in one arena.
void StageTrainer::load_base() {
  Progress progress(5);
  const HfModel& files = *stage_.base->model;
  if (stage_.memory) base_.memory = reserve_memory(*stage_.memory);
  LoadOptions load;
  load.activation = activation_dtype(config());
  load.quantize = config().load_in_4bit;
  load.threads = thread_count(config());
  load.arena = base_.memory ? &base_.memory->device : nullptr;
  load.nf4_cache = config().nf4_cache;
  load.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.update("loading the base: " + format_bytes(done) + " of " + format_bytes(total));
  };
  MistralWeights weights = load_mistral(files, load);
  base_.fingerprint = weights.fingerprint;
  if (weights.zero_blocks > 0)
    log_info(std::to_string(weights.zero_blocks) + " quantization blocks of the base hold only zeros");
  base_.adapter =
      std::make_unique<LoraAdapter>(weights.config, lora_settings(config()), load.activation, base_.memory.get());
  base_.model = std::make_unique<Mistral>(std::move(weights), base_.adapter.get(), base_.memory.get());
  if (base_.memory) base_.stage_begin = {base_.memory->device.mark(), base_.memory->pinned.mark()};
  progress.finish("base loaded: " + format_bytes(base_.model->weights().bytes()) + ", adapter " +
                  std::to_string(base_.adapter->parameter_count()) + " parameters");
}

// The base, loaded unless an earlier stage did, and what this stage needs beside it.
void StageTrainer::acquire_base() {
  at::set_num_threads(thread_count(config()));
  if (stage_.memory) {
    const auto limit = parse_byte_size(config().gpu_memory_limit);
    // Without one, that of a stage before no longer holds.
    limit_device_memory(limit ? *limit - std::min(*limit, kDriverBytes) : open_device().total_bytes);
  }
  const bool loads = !base_.model;
  if (loads) load_base();
  if (base_.memory) {
    base_.model->release();
    base_.memory->device.release_to(base_.stage_begin.device);
    base_.memory->pinned.release_to(base_.stage_begin.pinned);
    base_.model->set_plan(stage_.memory->activation);
    base_.model->reserve(stage_.memory->tokens, stage_.memory->positions, true);
  } else {
    base_.model->reserve(stage_.plan.longest_micro_batch(), config().sequence_len, true);
  }
  optimizer_ = std::make_unique<AdamW8bit>(adapter(), adam_options(config()), base_.memory.get());
  wait_for_device(base_.model->ops());
  if (loads) base_.checksums = checksum_base(base_.model->ops(), base_.model->weights());
  if (base_.memory) {
    restore_matmul_choices();
    check_with_trial_pass();
  }
  char checksum[17];
  std::snprintf(checksum, sizeof checksum, "%016llx", static_cast<unsigned long long>(base_.checksums.combined()));
  identity_ = {base_model_name(*stage_.base), base_.fingerprint, checksum};
}

// A run that goes on takes the same algorithms for its large products: their sums have the same order.
void StageTrainer::restore_matmul_choices() {
  const auto run = options_.resume ? stage_.folder.read_run() : std::nullopt;
  const JsonValue* products = run ? run->find("products") : nullptr;
  if (!products || !matmul_choices().empty()) return;
  std::vector<MatmulChoice> choices;
  for (const JsonValue& item : products->items)
    choices.push_back({text_member(item, "product"), text_member(item, "algorithm")});
  shori::restore_matmul_choices(choices);
}

// Before the first step nothing is lost by too little memory: another plan mends it.
void StageTrainer::check_with_trial_pass() {
  try {
    run_trial_pass();
  } catch (const Error& error) {
    if (error.code() != "E0704") throw;
    const MemoryPlan& plan = *stage_.memory;
    Diagnostic diagnostic("E0401", "the GPU's memory does not suffice for the trial pass before step 1");
    diagnostic.note(error.diagnostics().front().message);
    diagnostic.note(format_bytes(plan.total_bytes) +
                    " were planned and free: either another program took memory since, or the plan is wrong");
    note_memory_lines(plan, diagnostic);
    diagnostic.help("see with `nvidia-smi` what else runs on the GPU, then start again")
        .help("set `gpu_memory_limit` to less, or another key: `--plan` shows what fits")
        .help("if nothing else runs there, report this table");
    throw Error(diagnostic);
  }
}

// The attention against the CPU version, then one pass over the micro-batch that needs the most memory, before anything
// depends on it: what does not fit fails now, and every large product has its algorithm before run.json is written.
// Nothing of it remains.
void StageTrainer::run_trial_pass() {
  const int sm_count = open_device().sm_count;
  std::size_t worst = 0, most = 0;
  for (std::size_t i = 0; i < stage_.plan.micro_batches.size(); ++i) {
    const PackedBatch batch = make_batch(stage_.data.train, stage_.plan, i);
    const std::size_t bytes = attention_memory_bytes(base_.model->config(), std::ssize(batch.ids),
                                                     std::ssize(batch.cu_seqlens) - 1, sm_count);
    if (bytes > most) worst = i;
    most = std::max(most, bytes);
  }
  Mistral& model = *base_.model;
  const MistralConfig& shape = model.config();
  check_device_attention(model.ops(), {shape.heads, shape.kv_heads, shape.head_dim, shape.sliding_window});
  const PackedBatch batch = make_batch(stage_.data.train, stage_.plan, worst);
  model.begin(batch, {});
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
    throw_if_stop_requested();
    model.forward_layer(layer);
  }
  model.head_loss(0.0);
  for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) {
    throw_if_stop_requested();
    model.backward_layer(layer);
  }
  wait_for_device(model.ops());
}

}  // namespace shori
