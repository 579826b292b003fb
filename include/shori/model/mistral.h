// The whole model: embedding, decoder layers, final norm, head. Owns the frozen weights and every buffer of a pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/model/checkpointing_policy.h"
#include "shori/model/decoder_layer.h"
#include "shori/model/kv_cache.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/ops/packed_batch.h"
#include "shori/util/device_arena.h"

namespace shori {

// The line of a memory plan for the workspace of a device.
inline constexpr const char* kWorkspaceCategory = "workspace of the kernels";

class Mistral {
 public:
  // `adapter` outlives the model; null: the base model alone (evaluate and logits only). `memory`: of the device that
  // weights and adapter are on, and outlives the model; null: the host's. A model in planning memory is never run.
  explicit Mistral(MistralWeights weights, LoraAdapter* adapter = nullptr, DeviceMemory* memory = nullptr);

  // Bytes that a layer saves for the backward pass of `tokens` tokens in addition to its input.
  std::size_t saved_bytes(std::int64_t tokens, Recompute recompute) const;
  // Which activations to save for the backward pass. Takes effect at the next reserve(). Default: every layer is
  // recomputed.
  void set_checkpointing(CheckpointingPolicy policy);

  // Allocates the buffers for micro-batches of up to `tokens` ids with positions below `positions`, so that no pass
  // allocates. A pass that needs more allocates it; on a device that is an internal error.
  void reserve(std::int64_t tokens, std::int64_t positions, bool backward);
  // Drops the buffers. On a device the caller releases their memory.
  void release();

  // A training pass, in this order: begin, forward_layer 0 .. layer_count() - 1, head_loss, backward_layer
  // layer_count() - 1 .. 0. `dropout`: seed, step, micro_batch and probability. `batch` lives until the pass ends.
  void begin(const PackedBatch& batch, const DropoutKey& dropout);
  void forward_layer(std::int64_t layer);
  // Returns the losses [T] (0 where there is no target) and starts the backward pass with gradient_weight * sum of
  // losses.
  std::span<const float> head_loss(double gradient_weight);
  void backward_layer(std::int64_t layer);

  // Losses [T] of a batch without dropout; nullopt if a stop was requested and noticed between layers.
  std::optional<std::span<const float>> evaluate(const PackedBatch& batch);
  // Logits [ids, vocab] of one short prompt, without dropout.
  std::vector<float> logits(std::span<const std::int32_t> ids);
  // An empty cache for `positions` tokens, in the memory of the model's device. Every pass over it is one of this model.
  KvCache make_cache(std::int64_t positions);
  // Generation: reads `ids` after the tokens of `cache` and adds them to it. Returns the logits [vocab] after the last of
  // them, valid until the next call. `stop` (may be empty) is asked between layers; if it returns true, the result is
  // empty and the cache as long as before. Needs reserve(ids, cache.positions(), false) on a device.
  std::span<const float> extend(std::span<const std::int32_t> ids, KvCache& cache,
                                const std::function<bool()>& stop = {});

  std::int64_t layer_count() const { return config().layers; }
  const MistralConfig& config() const { return weights_->config; }
  const MistralWeights& weights() const { return *weights_; }
  LoraAdapter* adapter() const { return adapter_; }
  const CheckpointingPolicy& checkpointing() const { return checkpointing_; }
  const OpContext& ops() const { return context_.ops; }
  // Every op reports its start to `profile`, until this is set to null.
  void set_profile(OpProfile* profile) { context_.ops.profile = profile; }
  // Shows every tensor that a pass makes to `probe`, until this is set to an empty function.
  void set_probe(TensorProbe probe) { context_.probe = std::move(probe); }

 private:
  bool on_device() const { return memory_ != nullptr; }
  void reserve_workspace();
  void reserve_positions(std::int64_t positions);
  void reserve_batch();
  void upload_batch(const PackedBatch& batch);
  TensorView layer_input(std::int64_t layer) const;
  void start(const PackedBatch& batch, const DropoutKey& dropout, bool training);
  void final_norm();
  void last_logits();
  void probe(std::string_view name, ConstTensorView tensor) const;

  std::unique_ptr<MistralWeights> weights_;  // its address is in layers_
  LoraAdapter* adapter_;
  DeviceMemory* memory_;
  CheckpointingPolicy checkpointing_;
  std::unique_ptr<DeviceStream> stream_;  // on a device: all work of the model is queued here
  std::unique_ptr<Workspace> workspace_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;

  std::int64_t capacity_tokens_ = 0;
  bool capacity_backward_ = false;
  RopeTable rope_;
  OwnedTensor rope_cos_, rope_sin_;  // on a device
  LayerBuffers buffers_;
  std::vector<SavedActivations> saved_;  // one per layer
  std::vector<OwnedTensor> inputs_;      // [T, C]: one per layer, or one for all layers without a backward pass
  OwnedTensor dx_;                       // [T, C]
  std::vector<float> losses_;            // [T]
  OwnedTensor rounded_logits_;           // [1, V], made with the first cache
  std::vector<float> logits_;            // [V]
  OwnedTensor device_losses_;            // on a device: [1, T]
  OwnedTensor ids_, labels_, position_ids_, cu_seqlens_;  // on a device

  LayerContext context_;  // of the running pass
  Int32Array batch_ids_, targets_;
  bool training_ = false;
};

}  // namespace shori
