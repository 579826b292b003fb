#include "shori/model/mistral.h"

#include <utility>

#include "shori/ops/decode_linear.h"
#include "shori/ops/embed.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/util/error.h"
#include "shori/util/ignored_label.h"
#include "shori/util/signals.h"
#include "src/model/pass/host_view.h"

namespace shori {

namespace {

// The pass reads and extends `cache` to the end of the scope, also if a layer throws.
class CacheScope {
 public:
  CacheScope(LayerContext& context, KvCache& cache) : context_(context) { context_.cache = &cache; }
  ~CacheScope() { context_.cache = nullptr; }
  CacheScope(const CacheScope&) = delete;
  CacheScope& operator=(const CacheScope&) = delete;

 private:
  LayerContext& context_;
};

PackedBatch batch_of_prompt(std::span<const std::int32_t> ids) {
  PackedBatch batch;
  batch.ids.assign(ids.begin(), ids.end());
  batch.labels.assign(ids.size(), kIgnoredLabel);
  for (std::size_t i = 0; i < ids.size(); ++i) batch.position_ids.push_back(static_cast<std::int32_t>(i));
  batch.cu_seqlens = {0, static_cast<std::int32_t>(ids.size())};
  batch.max_seqlen = batch.real_tokens = static_cast<std::int64_t>(ids.size());
  return batch;
}

// Tokens at positions `first` and on.
PackedBatch batch_from(std::span<const std::int32_t> ids, std::int64_t first) {
  PackedBatch batch = batch_of_prompt(ids);
  for (std::int32_t& position : batch.position_ids) position += static_cast<std::int32_t>(first);
  return batch;
}

LinearModule head_module(const OwnedTensor& weight) {
  return {.weight = FrozenWeight::of(weight.dtype(), weight.rows(), weight.cols(), weight.data<void>())};
}

void widen(ConstTensorView row, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = row.dtype == DType::kF32 ? row.row<float>(0)[i] : to_float(row.row<Bf16>(0)[i]);
  }
}

}  // namespace

Mistral::Mistral(MistralWeights weights, LoraAdapter* adapter, DeviceMemory* memory)
    : weights_(std::make_unique<MistralWeights>(std::move(weights))),
      adapter_(adapter),
      memory_(memory),
      checkpointing_(CheckpointingPolicy::uniform(layer_count(), Recompute::kAll)),
      workspace_(std::make_unique<Workspace>()) {
  SHORI_CHECK(adapter == nullptr || adapter->activation() == weights_->activation,
              "adapter and model compute in the same dtype");
  for (std::int64_t layer = 0; layer < layer_count(); ++layer) {
    layers_.push_back(
        std::make_unique<DecoderLayer>(config(), weights_->layers[static_cast<std::size_t>(layer)], adapter, layer));
  }
  context_.ops.workspace = workspace_.get();
  if (memory == nullptr) return;
  context_.ops.device = Device::kCuda;
  if (memory->is_planning()) return;
  stream_ = std::make_unique<DeviceStream>();
  context_.ops.stream = stream_->handle();
  *workspace_ = Workspace(weights_->embedding.data<void>(), 0);  // none before reserve()
  synchronize_stream(nullptr);  // weights and adapter were filled on the default stream
}

TensorView Mistral::layer_input(std::int64_t layer) const {
  if (layer == layer_count()) return buffers_.final_input.view(context_.tokens());
  return inputs_[training_ ? static_cast<std::size_t>(layer) : 0].view(context_.tokens());
}

void Mistral::probe(std::string_view name, ConstTensorView tensor) const {
  if (context_.probe) context_.probe(name, tensor, 0);
}

// The integers of `batch` as ops take them: on the host, and on a device as well.
void Mistral::upload_batch(const PackedBatch& batch) {
  const auto upload = [&](const std::vector<std::int32_t>& values, const OwnedTensor& on_device_copy) {
    if (!on_device()) return Int32Array(values);
    copy_to_device(on_device_copy.data<void>(), values.data(), values.size() * sizeof(std::int32_t),
                   context_.ops.stream);
    return Int32Array(values, on_device_copy.data<std::int32_t>());
  };
  batch_ids_ = upload(batch.ids, ids_);
  targets_ = upload(batch.labels, labels_);
  context_.position_ids = upload(batch.position_ids, position_ids_);
  context_.cu_seqlens = upload(batch.cu_seqlens, cu_seqlens_);
}

void Mistral::start(const PackedBatch& batch, const DropoutKey& dropout, bool training) {
  reserve(static_cast<std::int64_t>(batch.ids.size()), batch.max_seqlen, training);
  training_ = training;
  upload_batch(batch);
  context_.rope = &rope_;
  context_.decoded = &buffers_.decoded;
  context_.dropout = dropout;
  embed(context_.ops, weights_->embedding.view(), batch_ids_, layer_input(0));
  probe("embedding", layer_input(0));
}

void Mistral::begin(const PackedBatch& batch, const DropoutKey& dropout) {
  SHORI_CHECK(adapter_ != nullptr, "a model without adapter is not trained");
  start(batch, dropout, true);
}

void Mistral::forward_layer(std::int64_t layer) {
  const auto index = static_cast<std::size_t>(layer);
  std::optional<ConstTensorView> hidden_before;
  if (layer > 0) hidden_before = saved_[index - 1].hidden_of(buffers_).view(context_.tokens());
  shori::forward_layer(context_, *layers_[index], layer_input(layer), hidden_before, buffers_, saved_[index]);
}

void Mistral::final_norm() {
  const std::int64_t tokens = context_.tokens();
  const TensorView x = layer_input(layer_count());
  rms_norm(context_.ops, saved_.back().hidden_of(buffers_).view(tokens), buffers_.delta.view(tokens), x,
           weights_->final_norm.view(), config().rms_norm_eps, buffers_.normed.view(tokens));
  probe("input of the final norm", x);
}

std::span<const float> Mistral::head_loss(double gradient_weight) {
  const std::int64_t tokens = context_.tokens();
  const std::span<float> losses(losses_.data(), static_cast<std::size_t>(tokens));
  const std::span<float> computed = on_device() ? std::span(device_losses_.data<float>(), losses.size()) : losses;
  final_norm();
  std::optional<TensorView> dnormed;
  if (training_) dnormed = buffers_.dnormed.view(tokens);
  shori::head_loss(context_.ops, buffers_.normed.view(tokens), weights_->head_weight().view(), targets_,
                   gradient_weight, computed, dnormed);
  probe("loss", {computed.data(), DType::kF32, tokens, 1, 1});
  if (training_) {
    rms_norm_backward(context_.ops, layer_input(layer_count()), weights_->final_norm.view(), config().rms_norm_eps,
                      *dnormed, std::nullopt, std::nullopt, dx_.view(tokens));
    probe("gradient of the last layer's output", dx_.view(tokens));
  }
  if (on_device()) {
    copy_to_host(losses.data(), computed.data(), losses.size_bytes(), context_.ops.stream);
    wait_for_device(context_.ops);
  }
  return losses;
}

void Mistral::backward_layer(std::int64_t layer) {
  const auto index = static_cast<std::size_t>(layer);
  shori::backward_layer(context_, *layers_[index], layer_input(layer), buffers_, dx_.view(context_.tokens()),
                        layer == 0, saved_[index]);
}

std::optional<std::span<const float>> Mistral::evaluate(const PackedBatch& batch) {
  start(batch, DropoutKey{}, false);
  for (std::int64_t layer = 0; layer < layer_count(); ++layer) {
    if (stop_requested()) return std::nullopt;
    forward_layer(layer);
  }
  return head_loss(0.0);
}

std::vector<float> Mistral::logits(std::span<const std::int32_t> ids) {
  const PackedBatch batch = batch_of_prompt(ids);
  start(batch, DropoutKey{}, false);
  for (std::int64_t layer = 0; layer < layer_count(); ++layer) forward_layer(layer);
  final_norm();
  const LinearModule head = head_module(weights_->head_weight());
  const LinearGroup group{.modules = {&head, 1}};
  const std::int64_t tokens = context_.tokens();
  std::optional<DeviceArena> arena;
  if (on_device()) {
    const std::size_t bytes = static_cast<std::size_t>(tokens * config().vocab_size) * size_of(weights_->activation);
    arena.emplace(ArenaKind::kDevice, bytes + DeviceArena::kMaxSliceOverhead);
  }
  const OwnedTensor rounded =
      OwnedTensor::make(weights_->activation, tokens, config().vocab_size, arena ? &*arena : nullptr);
  nf4_linear(context_.ops, group, buffers_.normed.view(tokens), rounded.view());
  std::vector<std::byte> copy;
  const ConstTensorView result = host_view(context_.ops, rounded.view(), copy);
  std::vector<float> logits(static_cast<std::size_t>(rounded.count()));
  widen(result, logits);
  return logits;
}

KvCache Mistral::make_cache(std::int64_t positions) {
  DeviceArena* arena = on_device() ? &memory_->device : nullptr;
  if (arena != nullptr) arena->begin("keys and values");
  if (!rounded_logits_) {
    rounded_logits_ = OwnedTensor::make(weights_->activation, 1, config().vocab_size, arena);
    logits_.resize(static_cast<std::size_t>(config().vocab_size));
  }
  return KvCache(config(), weights_->activation, positions, arena);
}

std::span<const float> Mistral::extend(std::span<const std::int32_t> ids, KvCache& cache,
                                       const std::function<bool()>& stop) {
  const std::int64_t first = cache.length(), tokens = std::ssize(ids);
  SHORI_CHECK(tokens > 0 && first + tokens <= cache.positions(), "the tokens do not fit in the cache");
  const PackedBatch batch = batch_from(ids, first);
  reserve(tokens, cache.positions(), false);
  start(batch, DropoutKey{}, false);
  bool stopped = false;
  {
    const CacheScope scope(context_, cache);
    for (std::int64_t layer = 0; layer < layer_count() && !stopped; ++layer) {
      stopped = stop && stop();
      if (!stopped) forward_layer(layer);
    }
  }
  if (stopped) return {};
  cache.set_length(first + tokens);
  last_logits();
  return logits_;
}

// Of the last token of the pass, from its output in buffers_.
void Mistral::last_logits() {
  final_norm();
  const LinearModule head = head_module(weights_->head_weight());
  decode_linear(context_.ops, {.modules = {&head, 1}}, buffers_.normed.view().slice_rows(context_.tokens() - 1, 1),
                rounded_logits_.view());
  std::vector<std::byte> copy;
  widen(host_view(context_.ops, rounded_logits_.view(), copy), logits_);
}

}  // namespace shori
