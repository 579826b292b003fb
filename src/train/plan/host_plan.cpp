#include "src/train/plan/host_plan.h"

#include <algorithm>

#include "shori/infer/cached_model.h"
#include "shori/model/mistral.h"
#include "shori/util/byte_size.h"
#include "shori/util/text.h"
#include "src/train/plan/host_memory.h"

namespace shori {
namespace {

constexpr std::int64_t kRowsOfWorker = 128;     // of logits and of scores that a worker holds
constexpr std::int64_t kColumnsOfWorker = 128;  // of a weight that a worker decodes

// Copies of bf16 operands in fp32, and the scratch of the workers, of the op that takes most.
std::size_t op_temporaries(const MistralConfig& model, DType activation, std::int64_t tokens, std::int64_t threads) {
  const std::int64_t copied = activation == DType::kBf16 ? 1 : 0, hidden = model.hidden_size;
  const std::int64_t wide = 2 * model.intermediate_size, qkv = model.q_size() + 2 * model.kv_size();
  const std::int64_t head =
      copied * (model.vocab_size + tokens) * hidden + threads * kRowsOfWorker * (model.vocab_size + hidden);
  const std::int64_t linear = copied * tokens * wide + threads * kColumnsOfWorker * (wide / 2 + tokens);
  const std::int64_t attention =
      tokens * ((copied + 1) * qkv + model.q_size()) + threads * 2 * kRowsOfWorker * std::max(tokens, hidden);
  return static_cast<std::size_t>(std::max({head, linear, attention})) * sizeof(float);
}

std::size_t sum_of(const std::vector<DeviceArena::Line>& lines) {
  std::size_t sum = 0;
  for (const DeviceArena::Line& line : lines) sum += line.bytes;
  return sum;
}

}  // namespace

MemoryPlan plan_host_memory(const MemoryDemand& demand, ActivationMemory choice, std::size_t available,
                            std::int64_t threads) {
  const std::int64_t tokens = demand.tokens();
  DeviceMemory memory = DeviceMemory::planning();
  MistralWeights weights = allocate_weights(demand.model, demand.format, &memory.device);
  LoraAdapter adapter(demand.model, demand.lora, demand.format.activation, &memory);
  Mistral model(std::move(weights), &adapter, &memory);
  const std::size_t base = memory.device.used_bytes();
  const SavedBytes saved{model.saved_bytes(tokens, Recompute::kMlp), model.saved_bytes(tokens, Recompute::kNone)};

  MemoryPlan plan;
  plan.tokens = tokens;
  plan.positions = demand.positions;
  plan.checkpointing =
      choose_host_checkpointing(demand.model.layers, saved, choice, available - std::min(available, base));
  model.set_checkpointing(plan.checkpointing);
  model.reserve(tokens, demand.positions, true);
  const AdamW8bit optimizer(adapter, demand.adam, &memory);
  std::optional<CachedModel> sampler;
  if (demand.sample_context > 0) sampler.emplace(model, demand.sample_context);
  plan.lines = memory.device.table();
  // A device has a workspace of another size.
  std::erase_if(plan.lines, [](const DeviceArena::Line& line) { return line.category == kWorkspaceCategory; });
  plan.lines.emplace_back().category = "temporaries of the ops (estimate)";
  plan.lines.back().bytes = op_temporaries(demand.model, demand.format.activation, tokens, threads);
  plan.total_bytes = sum_of(plan.lines);
  return plan;
}

std::string host_memory_table(const MemoryPlan& plan, std::size_t available) {
  std::string text = memory_lines(plan);
  text += memory_line("free now", available);
  if (plan.total_bytes > available) {
    text += concat("  ", format_bytes(plan.total_bytes - available),
                   " more than is free: the run may swap or be stopped by the system\n");
  }
  return text + concat("  backward pass: ", checkpointing_text(plan.checkpointing), "\n");
}

}  // namespace shori
