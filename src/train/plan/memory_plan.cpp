#include "shori/train/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "shori/infer/cached_model.h"
#include "shori/model/load_mistral.h"
#include "shori/model/mistral.h"
#include "shori/ops/packed_batch.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/byte_size.h"
#include "shori/util/device.h"
#include "shori/util/math.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/train/plan/attention_memory.h"
#include "src/train/plan/make_batch.h"
#include "src/train/plan/sample_prompts.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

// For gaps between the blocks of libtorch's allocator, and for what another program may allocate.
constexpr std::size_t kReserveBytes = std::size_t{256} << 20;

CheckpointingPolicy last_layers_whole(std::int64_t layers, std::int64_t whole) {
  CheckpointingPolicy policy = CheckpointingPolicy::uniform(layers, Recompute::kMlp);
  std::fill(policy.layers.end() - whole, policy.layers.end(), Recompute::kNone);
  return policy;
}

// What the kernels are made for.
constexpr std::int64_t kMaxMlpTile = 16384;

// With the weights of a layer decoded once in each of its passes, if that fits. Of all that memory buys this saves the most time a
// byte but for the attention, so it comes before whole layers.
MemoryPlan decode_once_if_it_fits(const MemoryDemand& demand, CheckpointingPolicy policy, const DeviceLimits& limits) {
  policy.decode_once = true;
  MemoryPlan plan = plan_memory(demand, policy, limits.sm_count);
  if (fits(plan, limits)) return plan;
  policy.decode_once = false;
  return plan_memory(demand, policy, limits.sm_count);
}

// Where every layer is kept whole, the rest of the memory goes to longer products: the MLP of a pack in one tile.
MemoryPlan lengthen_mlp_tile(const MemoryDemand& demand, MemoryPlan plan, const DeviceLimits& limits) {
  CheckpointingPolicy policy = plan.checkpointing;
  if (std::ranges::count(policy.layers, Recompute::kNone) < std::ssize(policy.layers)) return plan;
  policy.mlp_tile = std::clamp(round_up(demand.tokens(), kMlpTile), kMlpTile, kMaxMlpTile);
  MemoryPlan longer = plan_memory(demand, policy, limits.sm_count);
  return fits(longer, limits) ? longer : plan;
}

// The NF4 kernel reads the codes in every product. The products of cuBLASLt read [W | B'] written out, of dense weights too.
std::string decoding_text(const MemoryDemand& demand, const CheckpointingPolicy& policy) {
  const std::string tiles = concat(", MLP in tiles of ", with_commas(policy.mlp_tile), " tokens");
  const std::string times = policy.decode_once ? "once in a pass of a layer" : "for each product";
  if (!demand.format.quantize) return concat("joined with the adapter's ", times, tiles);
  switch (demand.matmul) {
    case MatmulKernel::kCublasLt:
      return concat("decoded ", times, tiles);
    case MatmulKernel::kNf4:
      return concat("decoded in each product by the NF4 kernel", tiles);
    case MatmulKernel::kAuto:
      return concat("decoded ", times, ", or in each product by the NF4 kernel where that is faster", tiles);
  }
  internal_error(__FILE__, __LINE__, "unknown matmul");
}

std::size_t attention_of(const MemoryDemand& demand, int sm_count) {
  std::size_t most = 0;
  for (const PackShape& pack : demand.packs) {
    most = std::max(most, attention_memory_bytes(demand.model, pack.tokens, pack.segments, sm_count));
  }
  return most;
}

// The attention of every layer kept, and as many whole layers as fit; else everything recomputed.
MemoryPlan keep_what_fits(const MemoryDemand& demand, const DeviceLimits& limits) {
  const std::int64_t layers = demand.model.layers;
  const MemoryPlan least = decode_once_if_it_fits(demand, last_layers_whole(layers, 0), limits);
  if (!fits(least, limits))
    return decode_once_if_it_fits(demand, CheckpointingPolicy::uniform(layers, Recompute::kAll), limits);
  const auto with_whole = [&](std::int64_t whole) {
    CheckpointingPolicy policy = last_layers_whole(layers, whole);
    policy.decode_once = least.checkpointing.decode_once;
    return plan_memory(demand, policy, limits.sm_count);
  };
  std::int64_t low = 0, high = layers;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    fits(with_whole(middle), limits) ? low = middle : high = middle - 1;
  }
  return lengthen_mlp_tile(demand, with_whole(low), limits);
}

// The same stage with packs of at most `tokens`.
MemoryDemand shortened(MemoryDemand demand, std::int64_t tokens) {
  demand.positions = std::min(demand.positions, tokens);
  for (PackShape& pack : demand.packs) {
    pack.tokens = std::min(pack.tokens, tokens);
    pack.segments = std::min(pack.segments, pack.tokens);
  }
  return demand;
}

// The longest pack that fits in any mode, a multiple of 1,024 below `most`; 0: none.
std::int64_t longest_that_fits(const MemoryDemand& demand, const DeviceLimits& limits, std::int64_t most) {
  std::int64_t low = 0, high = (most - 1) / 1024;
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    fits(plan_for(shortened(demand, middle * 1024), ActivationMemory::kRecompute, limits), limits) ? low = middle
                                                                                                   : high = middle - 1;
  }
  return low * 1024;
}

// Changes of the config with which the stage would fit, as helps.
void propose_what_fits(const TrainConfig& config, const MemoryDemand& demand, const DeviceLimits& limits,
                       bool shares_attention, Diagnostic& diagnostic) {
  const MemoryPlan least = plan_for(demand, ActivationMemory::kRecompute, limits);
  if (config.activation_memory != ActivationMemory::kRecompute && fits(least, limits)) {
    diagnostic.help(concat("`activation_memory: auto` fits (`recompute` needs ", format_gib(least.total_bytes), ")"));
  }
  const std::int64_t rows = std::max<std::int64_t>(1, config.micro_batch_size);
  if (rows > 1) {
    const MemoryPlan single =
        plan_for(shortened(demand, ceil_div(demand.tokens(), rows)), ActivationMemory::kRecompute, limits);
    diagnostic.help(
        concat("`micro_batch_size: 1` needs ", format_gib(single.total_bytes), fits(single, limits) ? ": fits" : ""));
  }
  if (const std::int64_t tokens = longest_that_fits(demand, limits, demand.tokens()); tokens > 0) {
    const MemoryPlan shorter = plan_for(shortened(demand, tokens), ActivationMemory::kRecompute, limits);
    diagnostic.help(concat("`sequence_len: ", tokens / rows, "` fits (", format_gib(shorter.total_bytes), ")"));
  } else if (shares_attention) {
    diagnostic.help("a smaller `sequence_len` in the stage of the longest packs");
  } else {
    diagnostic.help("a GPU with more memory: the weights alone leave no room");
  }
}

[[noreturn]] void refuse(const PreparedStage& stage, const MemoryDemand& demand, const MemoryPlan& plan,
                         const DeviceLimits& limits) {
  const std::size_t available = std::min(limits.free_bytes, limits.limit_bytes);
  Diagnostic diagnostic(
      "E0401", concat("the plan of stage `", stage.name, "` needs ", format_gib(plan.total_bytes), ", ",
                      format_gib(available), limits.limit_bytes < limits.free_bytes ? " are allowed" : " are free"));
  note_memory_lines(plan, diagnostic);
  const bool shares_attention = demand.least_attention > attention_of(demand, limits.sm_count);
  if (shares_attention) {
    diagnostic.note("the line of the attention is that of another stage with longer packs, which shares the base")
        .help(concat("`--only ", stage.name, "` plans this stage alone"));
  }
  propose_what_fits(stage.config, demand, limits, shares_attention, diagnostic);
  throw Error(diagnostic);
}

}  // namespace

std::string checkpointing_text(const CheckpointingPolicy& policy) {
  const auto count = [&](Recompute recompute) { return std::ranges::count(policy.layers, recompute); };
  std::string text;
  const auto add = [&](std::ptrdiff_t layers, const char* what) {
    if (layers == 0) return;
    text += concat(text.empty() ? "" : ", ", counted(layers, "layer"), " ", what);
  };
  add(count(Recompute::kAll), "recomputed");
  add(count(Recompute::kMlp), "with the attention kept");
  add(count(Recompute::kNone), "kept whole");
  return text;
}

bool fits(const MemoryPlan& plan, const DeviceLimits& limits) {
  return plan.total_bytes <= std::min(limits.free_bytes, limits.limit_bytes);
}

MemoryPlan plan_for(const MemoryDemand& demand, ActivationMemory choice, const DeviceLimits& limits) {
  const auto same = [&](Recompute recompute) {
    const auto policy = CheckpointingPolicy::uniform(demand.model.layers, recompute);
    return lengthen_mlp_tile(demand, decode_once_if_it_fits(demand, policy, limits), limits);
  };
  switch (choice) {
    case ActivationMemory::kAuto:
      return keep_what_fits(demand, limits);
    case ActivationMemory::kRecompute:
      return same(Recompute::kAll);
    case ActivationMemory::kKeepAttention:
      return same(Recompute::kMlp);
    case ActivationMemory::kKeep:
      return same(Recompute::kNone);
  }
  internal_error(__FILE__, __LINE__, "unknown activation_memory");
}

std::optional<MemoryPlan> keep_one_layer_less(MemoryDemand demand, const MemoryPlan& plan, int sm_count) {
  CheckpointingPolicy policy = plan.checkpointing;
  policy.mlp_tile = kMlpTile;
  auto layer = std::ranges::find(policy.layers, Recompute::kNone);
  if (layer == policy.layers.end()) layer = std::ranges::find(policy.layers, Recompute::kMlp);
  if (layer == policy.layers.end()) return std::nullopt;
  *layer = *layer == Recompute::kNone ? Recompute::kMlp : Recompute::kAll;
  demand.least_attention = plan.attention_bytes;
  MemoryPlan less = plan_memory(demand, policy, sm_count);
  less.base_arena_bytes = less.arena_bytes;
  less.base_pinned_bytes = less.pinned_bytes;
  return less;
}

std::int64_t MemoryDemand::tokens() const {
  std::int64_t most = 0;
  for (const PackShape& pack : packs) most = std::max(most, pack.tokens);
  return most;
}

MemoryDemand memory_demand(const PreparedStage& stage) {
  const TrainConfig& config = stage.config;
  MemoryDemand demand;
  demand.model = stage.base->model->config();
  demand.format = weight_format(*stage.base->model, activation_dtype(config), config.load_in_4bit);
  demand.lora = lora_settings(config);
  demand.adam = adam_options(config);
  demand.matmul = config.matmul;
  demand.positions = config.sequence_len;
  std::set<PackShape> shapes;
  const auto add = [&](const PackedBatch& batch) {
    shapes.insert({std::ssize(batch.ids), std::ssize(batch.cu_seqlens) - 1});
    demand.positions = std::max(demand.positions, batch.max_seqlen);
  };
  for (std::size_t i = 0; i < stage.plan.micro_batches.size(); ++i) add(make_batch(stage.data.train, stage.plan, i));
  for (const HeldOutSet& set : stage.data.held_out) {
    for (const Row& row : make_eval_rows(set.samples, stage.plan.options)) {
      add(make_eval_batch(set.samples, std::span(&row, 1), stage.plan.options));
    }
  }
  demand.sample_context = sample_context(stage);
  if (demand.sample_context > 0) {
    shapes.insert({std::min(CachedModel::kPrefillChunk, demand.sample_context), 1});
    demand.positions = std::max(demand.positions, demand.sample_context);
  }
  demand.packs.assign(shapes.begin(), shapes.end());
  return demand;
}

MemoryPlan plan_memory(const MemoryDemand& demand, const CheckpointingPolicy& checkpointing, int sm_count) {
  DeviceMemory memory = DeviceMemory::planning();
  // In the order of load_base(), prepare_base() and StageSession.
  MistralWeights weights = allocate_weights(demand.model, demand.format, &memory.device);
  LoraAdapter adapter(demand.model, demand.lora, demand.format.activation, &memory);
  Mistral model(std::move(weights), &adapter, &memory);
  model.set_checkpointing(checkpointing);
  model.reserve(demand.tokens(), demand.positions, true);
  const AdamW8bit optimizer(adapter, demand.adam, &memory);
  std::optional<CachedModel> sampler;
  if (demand.sample_context > 0) sampler.emplace(model, demand.sample_context);

  MemoryPlan plan;
  plan.tokens = demand.tokens();
  plan.positions = demand.positions;
  plan.checkpointing = checkpointing;
  plan.decoding = decoding_text(demand, checkpointing);
  plan.lines = memory.device.table();
  plan.arena_bytes = memory.device.peak_bytes();
  plan.pinned_bytes = memory.pinned.peak_bytes();
  plan.attention_bytes = std::max(demand.least_attention, attention_of(demand, sm_count));
  plan.lines.push_back({"temporaries of the attention (libtorch)", plan.attention_bytes});
  plan.lines.push_back({"driver and kernels (estimate)", kDriverBytes});
  plan.lines.push_back({"reserve", kReserveBytes});
  for (const DeviceArena::Line& line : plan.lines) plan.total_bytes += line.bytes;
  return plan;
}

void share_attention(std::span<MemoryDemand> demands, int sm_count) {
  std::size_t most = 0;
  for (const MemoryDemand& demand : demands) most = std::max(most, attention_of(demand, sm_count));
  for (MemoryDemand& demand : demands) demand.least_attention = most;
}

void choose_memory_plans(std::span<PreparedStage* const> stages, const DeviceLimits& limits) {
  std::vector<MemoryDemand> demands;
  for (const PreparedStage* stage : stages) demands.push_back(memory_demand(*stage));
  share_attention(demands, limits.sm_count);
  std::size_t arena = 0, pinned = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    MemoryPlan plan = plan_for(demands[i], stages[i]->config.activation_memory, limits);
    if (!fits(plan, limits)) refuse(*stages[i], demands[i], plan, limits);
    arena = std::max(arena, plan.arena_bytes);
    pinned = std::max(pinned, plan.pinned_bytes);
    stages[i]->memory = std::move(plan);
  }
  for (PreparedStage* stage : stages) {
    stage->memory->base_arena_bytes = arena;
    stage->memory->base_pinned_bytes = pinned;
  }
}

void note_memory_lines(const MemoryPlan& plan, Diagnostic& diagnostic) {
  for (const DeviceArena::Line& line : plan.lines) diagnostic.note(concat(line.category, " ", format_gib(line.bytes)));
}

std::string memory_line(std::string_view name, std::size_t bytes) {
  char line[128];
  std::snprintf(line, sizeof line, "  %-42.*s %17s  %7.3f GiB\n", static_cast<int>(name.size()), name.data(),
                with_commas(static_cast<std::int64_t>(bytes)).c_str(), static_cast<double>(bytes) / 0x1p30);
  return line;
}

std::string memory_lines(const MemoryPlan& plan) {
  std::string text;
  for (const DeviceArena::Line& line : plan.lines) text += memory_line(line.category, line.bytes);
  return text + memory_line("sum", plan.total_bytes);
}

std::string memory_table(const MemoryPlan& plan, const DeviceLimits& limits) {
  std::string text = memory_lines(plan);
  text += memory_line("left of what is free", std::min(limits.free_bytes, limits.limit_bytes) - plan.total_bytes);
  text += concat("  backward pass: ", checkpointing_text(plan.checkpointing), "\n");
  text += concat("  frozen weights: ", plan.decoding, "\n");
  return text + memory_line("page-locked host memory", plan.pinned_bytes);
}

}  // namespace shori
