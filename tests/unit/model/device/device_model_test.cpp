// A whole model on the device against the CPU: passes, optimizer steps, activation modes, and the memory it was planned
// to take.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "shori/model/find_non_finite.h"
#include "shori/model/mistral.h"
#include "shori/ops/matmul_choices.h"
#include "shori/optim/adamw8bit.h"
#include "shori/util/text.h"
#include "tests/support/device_test.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

using testing::relative_error;

const LoraSettings kSettings{.rank = 20, .alpha = 16};
constexpr std::int64_t kTokens = 192;

void upload(const OwnedTensor& from, OwnedTensor& to) {
  ASSERT_EQ(to.bytes(), from.bytes());
  copy_to_device(to.data<void>(), from.data<void>(), from.bytes(), nullptr);
  synchronize_stream(nullptr);
}

void upload(const LinearWeight& from, LinearWeight& to) {
  const auto& host = std::get<Nf4Weight>(from);
  auto& device = std::get<Nf4Weight>(to);
  upload(host.codes, device.codes);
  upload(host.absmax, device.absmax);
  upload(host.absmax2, device.absmax2);
  device.offset = host.offset;
}

void upload_weights(const MistralWeights& host, MistralWeights& weights) {
  upload(host.embedding, weights.embedding);
  upload(host.head, weights.head);
  upload(host.final_norm, weights.final_norm);
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    upload(host.layers[i].input_norm, weights.layers[i].input_norm);
    upload(host.layers[i].post_attention_norm, weights.layers[i].post_attention_norm);
    for (const Linear linear : kLinears) upload(host.layers[i][linear], weights.layers[i][linear]);
  }
}

// Everything of one device run, or its plan, in the order in which a trainer makes it.
struct DeviceModel {
  DeviceModel(DeviceMemory& memory, const MistralConfig& config, const CheckpointingPolicy& policy)
      : memory(memory), weights(allocate_weights(config, {}, &memory.device)) {
    if (!memory.is_planning()) upload_weights(tiny_weights(config, DType::kBf16), weights);
    adapter = std::make_unique<LoraAdapter>(config, kSettings, DType::kBf16, &memory);
    model = std::make_unique<Mistral>(std::move(weights), adapter.get(), &memory);
    stage_begin = memory.device.mark();
    pinned_begin = memory.pinned.mark();
    model->set_checkpointing(policy);
    model->reserve(kTokens, kTokens, true);
    optimizer = std::make_unique<AdamW8bit>(*adapter, AdamOptions{.weight_decay = 0.05}, &memory);
    cache.emplace(model->make_cache(kTokens));
  }

  DeviceMemory& memory;
  DeviceArena::Mark stage_begin, pinned_begin;
  MistralWeights weights;
  std::unique_ptr<LoraAdapter> adapter;
  std::unique_ptr<Mistral> model;
  std::unique_ptr<AdamW8bit> optimizer;
  std::optional<KvCache> cache;
};

struct Numbers {
  std::vector<float> losses, evaluated;
  std::vector<std::vector<float>> gradients, values;
  bool operator==(const Numbers&) const = default;
};

std::vector<float> gradient_of(const OpContext& context, const LoraFactor& factor) {
  std::vector<float> values(static_cast<std::size_t>(factor.count()));
  if (context.device == Device::kCpu) {
    std::ranges::copy(factor.gradients(), values.begin());
  } else {
    copy_to_host(values.data(), factor.gradient.data<float>(), factor.gradient.bytes(), context.stream);
    wait_for_device(context);
  }
  return values;
}

PackedBatch first_pack() { return pack_of(random_samples({37, 70, 5, 41}, tiny_config().vocab_size), 24); }

// One micro-batch and an update for each step, with dropout; the losses of all, and the adapter after the last.
Numbers train_steps(Mistral& model, LoraAdapter& adapter, AdamW8bit& optimizer, std::uint32_t steps) {
  Numbers numbers;
  randomize(adapter, model.ops());
  const PackedBatch pack = first_pack();
  for (std::uint32_t step = 0; step < steps; ++step) {
    adapter.zero_gradients(model.ops());
    model.begin(pack, {.seed = 5, .step = step, .probability = 0.1f});
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
    const std::span<const float> losses = model.head_loss(1e-2);
    numbers.losses.insert(numbers.losses.end(), losses.begin(), losses.end());
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
    optimizer.step(model.ops(), 1e-2, 0.5);
  }
  adapter.download(model.ops());
  wait_for_device(model.ops());
  for (const LoraFactor& factor : adapter.factors())
    numbers.values.emplace_back(factor.values().begin(), factor.values().end());
  return numbers;
}

// One micro-batch with dropout, an evaluation between, one update.
Numbers run(Mistral& model, LoraAdapter& adapter, AdamW8bit& optimizer) {
  Numbers numbers;
  randomize(adapter, model.ops());
  adapter.zero_gradients(model.ops());
  const PackedBatch pack = first_pack(), other = pack_of(random_samples({90}, tiny_config().vocab_size, 6));
  const std::span<const float> evaluated = *model.evaluate(other);
  numbers.evaluated.assign(evaluated.begin(), evaluated.end());
  model.begin(pack, {.seed = 5, .step = 2, .micro_batch = 1, .probability = 0.1f});
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) model.forward_layer(layer);
  const std::span<const float> losses = model.head_loss(1e-2);
  numbers.losses.assign(losses.begin(), losses.end());
  for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) model.backward_layer(layer);
  for (const LoraFactor& factor : adapter.factors()) numbers.gradients.push_back(gradient_of(model.ops(), factor));
  optimizer.step(model.ops(), 1e-3, 0.5);
  adapter.download(model.ops());
  wait_for_device(model.ops());
  for (const LoraFactor& factor : adapter.factors())
    numbers.values.emplace_back(factor.values().begin(), factor.values().end());
  return numbers;
}

DeviceMemory memory_for(const CheckpointingPolicy& policy) {
  DeviceMemory planned = DeviceMemory::planning();
  const DeviceModel model(planned, tiny_config(), policy);
  return {{ArenaKind::kDevice, planned.device.peak_bytes()}, {ArenaKind::kPinned, planned.pinned.peak_bytes()}};
}

Numbers run_on_device(const CheckpointingPolicy& policy) {
  DeviceMemory memory = memory_for(policy);
  DeviceModel device(memory, tiny_config(), policy);
  Numbers numbers = run(*device.model, *device.adapter, *device.optimizer);
  memory.device.check_guards();
  memory.pinned.check_guards();
  return numbers;
}

Numbers run_on_cpu() {
  LoraAdapter adapter(tiny_config(), kSettings, DType::kBf16);
  Mistral model(tiny_weights(tiny_config(), DType::kBf16), &adapter);
  AdamW8bit optimizer(adapter, {.weight_decay = 0.05});
  return run(model, adapter, optimizer);
}

class DeviceModelTest : public testing::DeviceTest {};

// Products, norms and SwiGLU agree within their tolerances, so the whole pass does within a few bf16 roundings.
TEST_F(DeviceModelTest, AgreesWithTheCpu) {
  const Numbers cpu = run_on_cpu(), device = run_on_device(CheckpointingPolicy::uniform(2, Recompute::kAll));
  EXPECT_LE(relative_error(device.evaluated, cpu.evaluated), 0.01);
  EXPECT_LE(relative_error(device.losses, cpu.losses), 0.01);
  for (std::size_t i = 0; i < cpu.gradients.size(); ++i) {
    EXPECT_LE(relative_error(device.gradients[i], cpu.gradients[i]), 0.03) << i;
    EXPECT_LE(relative_error(device.values[i], cpu.values[i]), 0.01) << i;
  }
}

std::vector<float> joined(const std::vector<std::vector<float>>& lists) {
  std::vector<float> all;
  for (const std::vector<float>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

// All gradients against those of fp32 activations, whose weights are rounded to bf16 as the library's are and the kernel's are
// not: within the tolerance of parity, twice the error of the library's products, whichever way tensor cores round fp16 sums.
TEST_F(DeviceModelTest, GradientsOfTheNf4KernelAreWithinParity) {
  LoraAdapter adapter(tiny_config(), kSettings, DType::kF32);
  Mistral model(tiny_weights(tiny_config(), DType::kF32), &adapter);
  AdamW8bit optimizer(adapter, {.weight_decay = 0.05});
  const Numbers exact = run(model, adapter, optimizer);
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kAll);
  const Numbers library = run_on_device(policy);
  const double bound = relative_error(joined(library.gradients), joined(exact.gradients));
  for_each_sum_rounding([&] {
    set_frozen_products(FrozenProducts::kNf4);
    const Numbers kernel = run_on_device(policy);
    set_frozen_products(FrozenProducts::kCublasLt);
    EXPECT_FALSE(kernel == library) << "the kernel was not used";
    EXPECT_LE(relative_error(joined(kernel.gradients), joined(exact.gradients)), 2 * bound);
    EXPECT_LE(relative_error(kernel.losses, exact.losses), 0.01);
  });
}

// A prompt in two parts, then single tokens.
std::vector<float> generated_logits(Mistral& model, LoraAdapter& adapter, KvCache& cache) {
  randomize(adapter, model.ops());
  const std::vector<std::int32_t> ids = random_samples({60}, tiny_config().vocab_size, 8).front();
  std::vector<float> all;
  std::size_t done = 0;
  for (const std::size_t count : {40u, 12u, 7u, 1u}) {
    const std::span<const float> logits = model.extend(std::span(ids).subspan(done, count), cache);
    all.insert(all.end(), logits.begin(), logits.end());
    done += count;
  }
  return all;
}

TEST_F(DeviceModelTest, GeneratesAsTheCpu) {
  LoraAdapter adapter(tiny_config(), kSettings, DType::kBf16);
  Mistral model(tiny_weights(tiny_config(), DType::kBf16), &adapter);
  KvCache cache = model.make_cache(kTokens);
  const std::vector<float> expected = generated_logits(model, adapter, cache);
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kAll);
  DeviceMemory memory = memory_for(policy);
  DeviceModel device(memory, tiny_config(), policy);
  const std::vector<float> logits = generated_logits(*device.model, *device.adapter, *device.cache);
  EXPECT_LE(relative_error(logits, expected), 0.02);
  memory.device.check_guards();
}

TEST_F(DeviceModelTest, ThreeStepsRepeatToTheBit) {
  const auto steps = [] {
    const CheckpointingPolicy policy{{Recompute::kMlp, Recompute::kNone}};
    DeviceMemory memory = memory_for(policy);
    DeviceModel device(memory, tiny_config(), policy);
    return train_steps(*device.model, *device.adapter, *device.optimizer, 3);
  };
  const Numbers first = steps();
  EXPECT_TRUE(first == steps());
  const std::size_t count = first.losses.size() / 3;
  EXPECT_LT(std::accumulate(first.losses.end() - static_cast<std::ptrdiff_t>(count), first.losses.end(), 0.0f),
            std::accumulate(first.losses.begin(), first.losses.begin() + static_cast<std::ptrdiff_t>(count), 0.0f))
      << "the loss of the same pack falls";
}

TEST_F(DeviceModelTest, EveryActivationModeGivesTheSameBits) {
  const Numbers wanted = run_on_device(CheckpointingPolicy::uniform(2, Recompute::kAll));
  EXPECT_TRUE(wanted == run_on_device({.layers = {Recompute::kAll, Recompute::kAll}, .decode_once = true}));
  EXPECT_TRUE(wanted == run_on_device(CheckpointingPolicy::uniform(2, Recompute::kMlp)));
  EXPECT_TRUE(wanted == run_on_device(CheckpointingPolicy::uniform(2, Recompute::kNone)));
  EXPECT_TRUE(wanted == run_on_device({.layers = {Recompute::kMlp, Recompute::kNone}, .decode_once = true}));
}

// Forward products of the library and backward products of the kernel in one pass, which share the memory of a decoded weight.
TEST_F(DeviceModelTest, DecodingOnceGivesTheSameBitsBesideTheNf4Kernel) {
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kMlp);
  const Numbers library = run_on_device(policy);
  for (const char* shape : {"64+32+32 in 64+64", "64 in 64+32", "128+128 in 64+64", "64 in 128+32"}) {
    remember_matmul_choice({concat("frozen x.wT out ", shape), std::string(kLibraryAlgorithm)});
    remember_matmul_choice({concat("frozen x.w out ", shape), std::string(kNf4Algorithm)});
  }
  set_frozen_products(FrozenProducts::kRecorded);
  const Numbers both = run_on_device(policy);
  EXPECT_FALSE(both == library) << "the kernel was not used";
  EXPECT_TRUE(both == run_on_device({.layers = policy.layers, .decode_once = true}));
  set_frozen_products(FrozenProducts::kCublasLt);
}

// A pack in one tile, and in two with the weights decoded once for both.
TEST_F(DeviceModelTest, EveryTileOfTheMlpGivesTheSameBits) {
  MistralConfig config = tiny_config();
  config.layers = 1;
  const PackedBatch pack = pack_of(random_samples({600, 500}, config.vocab_size), 4);
  const auto gradients = [&](const CheckpointingPolicy& policy) {
    DeviceMemory memory{{ArenaKind::kDevice, std::size_t{256} << 20}, {ArenaKind::kPinned, std::size_t{16} << 20}};
    MistralWeights weights = allocate_weights(config, {}, &memory.device);
    upload_weights(tiny_weights(config, DType::kBf16), weights);
    LoraAdapter adapter(config, kSettings, DType::kBf16, &memory);
    Mistral model(std::move(weights), &adapter, &memory);
    model.set_checkpointing(policy);
    model.reserve(std::ssize(pack.ids), std::ssize(pack.ids), true);
    randomize(adapter, model.ops());
    adapter.zero_gradients(model.ops());
    model.begin(pack, {.seed = 5, .step = 2, .probability = 0.1f});
    model.forward_layer(0);
    const std::span<const float> losses = model.head_loss(1e-2);
    std::vector<std::vector<float>> numbers{{losses.begin(), losses.end()}};
    model.backward_layer(0);
    for (const LoraFactor& factor : adapter.factors()) numbers.push_back(gradient_of(model.ops(), factor));
    memory.device.check_guards();
    return numbers;
  };
  const auto wanted = gradients(CheckpointingPolicy::uniform(1, Recompute::kMlp));
  EXPECT_EQ(gradients({.layers = {Recompute::kMlp}, .mlp_tile = 1024, .decode_once = true}), wanted);
}

TEST_F(DeviceModelTest, TakesWhatWasPlannedToTheByte) {
  for (const Recompute recompute : {Recompute::kAll, Recompute::kMlp, Recompute::kNone}) {
    const CheckpointingPolicy policy = {.layers = {recompute, recompute}, .decode_once = recompute == Recompute::kMlp};
    DeviceMemory planned = DeviceMemory::planning();
    const DeviceModel counted(planned, tiny_config(), policy);
    DeviceMemory memory = memory_for(policy);
    const DeviceModel made(memory, tiny_config(), policy);
    EXPECT_EQ(memory.device.used_bytes(), planned.device.used_bytes());
    EXPECT_EQ(memory.pinned.used_bytes(), planned.pinned.used_bytes());
    std::size_t sum = 0;
    for (const DeviceArena::Line& line : planned.device.table()) sum += line.bytes;
    EXPECT_EQ(sum, planned.device.used_bytes());
  }
}

// A later stage with another policy takes the memory of the one before.
TEST_F(DeviceModelTest, MemoryIsAllocatedAgainForTheNextStage) {
  const CheckpointingPolicy recompute = CheckpointingPolicy::uniform(2, Recompute::kAll),
                            save = CheckpointingPolicy::uniform(2, Recompute::kNone);
  const Numbers wanted = run_on_device(recompute);
  DeviceMemory memory = memory_for(save);
  DeviceModel device(memory, tiny_config(), recompute);
  EXPECT_TRUE(wanted == run(*device.model, *device.adapter, *device.optimizer));
  device.optimizer.reset();
  device.model->release();
  memory.device.release_to(device.stage_begin);
  memory.pinned.release_to(device.pinned_begin);
  device.model->set_checkpointing(save);
  device.model->reserve(kTokens, kTokens, true);
  device.optimizer = std::make_unique<AdamW8bit>(*device.adapter, AdamOptions{.weight_decay = 0.05}, &memory);
  EXPECT_TRUE(wanted == run(*device.model, *device.adapter, *device.optimizer));
  memory.device.check_guards();
}

TEST_F(DeviceModelTest, ChecksumsAreThoseOfTheHost) {
  Workspace workspace;
  const BaseChecksums host = checksum_base({.workspace = &workspace}, tiny_weights(tiny_config(), DType::kBf16));
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kAll);
  DeviceMemory memory = memory_for(policy);
  const DeviceModel device(memory, tiny_config(), policy);
  EXPECT_EQ(checksum_base(device.model->ops(), device.model->weights()).combined(), host.combined());
  EXPECT_FALSE(find_changed_tensor(device.model->ops(), device.model->weights(), host));
}

TEST_F(DeviceModelTest, FirstTensorThatIsNotFiniteIsNamed) {
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kAll);
  DeviceMemory memory = memory_for(policy);
  DeviceModel device(memory, tiny_config(), policy);
  randomize(*device.adapter, device.model->ops());
  EXPECT_FALSE(find_non_finite(*device.model, first_pack(), {}, 0.1));
  for (LoraFactor& factor : device.adapter->factors()) {
    if (factor.layer == 1 && factor.linear == Linear::kDown && factor.is_b) factor.values()[0] = INFINITY;
  }
  device.adapter->upload(device.model->ops());
  const auto found = find_non_finite(*device.model, first_pack(), {}, 0.1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "layers.1.down_proj output");
  EXPECT_EQ(found->token, 0);
}

TEST_F(DeviceModelTest, StateMovedThroughItsMirrorsGoesOnToTheBit) {
  const CheckpointingPolicy policy = CheckpointingPolicy::uniform(2, Recompute::kAll);
  DeviceMemory first = memory_for(policy), second = memory_for(policy);
  DeviceModel a(first, tiny_config(), policy), b(second, tiny_config(), policy);
  run(*a.model, *a.adapter, *a.optimizer);
  a.adapter->download(a.model->ops());
  a.optimizer->download(a.model->ops());
  wait_for_device(a.model->ops());
  for (std::size_t i = 0; i < a.adapter->factors().size(); ++i)
    std::ranges::copy(a.adapter->factors()[i].values(), b.adapter->factors()[i].values().begin());
  const auto from = a.optimizer->arrays(), to = b.optimizer->arrays();
  for (std::size_t i = 0; i < from.size(); ++i) std::memcpy(to[i].data, from[i].data, from[i].bytes());
  b.adapter->upload(b.model->ops());
  b.optimizer->upload(b.model->ops());
  b.optimizer->set_step_count(a.optimizer->step_count());
  const auto go_on = [](DeviceModel& device) {
    device.adapter->zero_gradients(device.model->ops());
    const PackedBatch pack = first_pack();
    device.model->begin(pack, {.seed = 5, .step = 3, .probability = 0.1f});
    for (std::int64_t layer = 0; layer < 2; ++layer) device.model->forward_layer(layer);
    device.model->head_loss(1e-2);
    for (std::int64_t layer = 1; layer >= 0; --layer) device.model->backward_layer(layer);
    device.optimizer->step(device.model->ops(), 1e-3, 1.0);
    device.adapter->download(device.model->ops());
    wait_for_device(device.model->ops());
    std::vector<float> all;
    for (const LoraFactor& factor : device.adapter->factors())
      all.insert(all.end(), factor.values().begin(), factor.values().end());
    return all;
  };
  EXPECT_EQ(go_on(a), go_on(b));
}

}  // namespace
}  // namespace shori
