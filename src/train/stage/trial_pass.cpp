#include "src/train/stage/trial_pass.h"

#include "shori/ops/attention.h"
#include "shori/util/byte_size.h"
#include "shori/util/progress.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/train/plan/attention_memory.h"
#include "src/train/plan/make_batch.h"

namespace shori {
namespace {

// All other memory is reserved for the longest micro-batch already; what the attention takes beside it depends on the
// number of segments as well.
PackedBatch largest_batch(const PreparedStage& stage, const MistralConfig& model) {
  const int sm_count = open_device().sm_count;
  std::size_t index = 0, most = 0;
  for (std::size_t i = 0; i < stage.plan.micro_batches.size(); ++i) {
    const PackedBatch batch = make_batch(stage.data.train, stage.plan, i);
    const std::size_t bytes =
        attention_memory_bytes(model, std::ssize(batch.ids), std::ssize(batch.cu_seqlens) - 1, sm_count);
    if (bytes <= most) continue;
    most = bytes;
    index = i;
  }
  return make_batch(stage.data.train, stage.plan, index);
}

void run_pass(const PackedBatch& batch, Mistral& model) {
  Progress progress;
  const std::int64_t layers = model.layer_count();
  const auto begin_layer = [&](std::int64_t number) {
    throw_if_stop_requested();
    progress.live(concat("warming up the GPU: ", number, " of ", 2 * layers, " layers of a trial pass"));
  };
  model.begin(batch, {});
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    begin_layer(layer);
    model.forward_layer(layer);
  }
  model.head_loss(0.0);
  for (std::int64_t layer = layers - 1; layer >= 0; --layer) {
    begin_layer(2 * layers - 1 - layer);
    model.backward_layer(layer);
  }
  wait_for_device(model.ops());
}

Diagnostic out_of_memory(const MemoryPlan& plan, const Error& error) {
  Diagnostic diagnostic("E0401", "the GPU's memory does not suffice for the trial pass before step 1");
  diagnostic.note(error.diagnostics().front().message);
  diagnostic.note(concat(format_bytes(plan.total_bytes),
                         " were planned and free: either another program took memory since, or the plan is wrong"));
  note_memory_lines(plan, diagnostic);
  return diagnostic.help("see with `nvidia-smi` what else runs on the GPU, then start again")
      .help("set `gpu_memory_limit` to less, or another key: `--plan` shows what fits")
      .help("if nothing else runs there, report this table");
}

}  // namespace

void run_trial_pass(const PreparedStage& stage, Mistral& model) {
  const MistralConfig& shape = model.config();
  const PackedBatch batch = largest_batch(stage, shape);
  try {
    check_device_attention(model.ops(), {shape.heads, shape.kv_heads, shape.head_dim, shape.sliding_window});
    run_pass(batch, model);
  } catch (const Error& error) {
    if (error.code() != "E0704") throw;
    throw TrialOutOfMemory(out_of_memory(*stage.memory, error));
  }
}

}  // namespace shori
