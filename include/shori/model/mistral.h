// The whole model: embedding, decoder layers, final norm, head. Owns the frozen weights and every buffer of a pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/model/activation_plan.h"
#include "shori/model/decoder_layer.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/ops/packed_batch.h"
#include "shori/util/device_arena.h"

namespace shori {

// The first tensor of a pass that holds NaN or Inf.
struct NonFiniteTensor {
  std::string name;         // "layers.12.down_proj output", "layers.3.self_attn.q_proj.lora_A gradient"
  std::int64_t token = -1;  // row in the micro-batch; -1: the tensor has no token rows
};

class Mistral {
 public:
  // `adapter` outlives the model; null: the base model alone (evaluate and logits only). `memory`: of the device that
  // weights and adapter are on, outlives the model; null: the host's. A model in planning memory is never run.
  explicit Mistral(MistralWeights weights, LoraAdapter* adapter = nullptr, DeviceMemory* memory = nullptr);

  // What the forward pass keeps, from the next reserve() on; every layer is recomputed without.
  void set_plan(ActivationPlan plan);

  // Makes room for micro-batches of up to `tokens` ids with positions below `positions`, so that no pass allocates.
  // Passes that need more make it themselves; on a device they are a bug of ours.
  void reserve(std::int64_t tokens, std::int64_t positions, bool backward);
  // Forgets the room that was made. On a device its memory is the caller's to release.
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

  // Runs the whole pass again and looks at every tensor. Gradients of the adapter are overwritten. nullopt: everything
  // was finite this time.
  std::optional<NonFiniteTensor> find_non_finite(const PackedBatch& batch, const DropoutKey& dropout,
                                                 double gradient_weight);

  std::int64_t layer_count() const { return config().layers; }
  const MistralConfig& config() const { return weights_->config; }
  const MistralWeights& weights() const { return *weights_; }
  const LoraAdapter* adapter() const { return adapter_; }
  const ActivationPlan& plan() const { return plan_; }
  const OpContext& ops() const { return context_.ops; }
  // Every op tells `profile` that it begins, until set to null.
  void set_profile(OpProfile* profile) { context_.ops.profile = profile; }

 private:
  bool on_device() const { return memory_ != nullptr; }
  void reserve_workspace();
  void reserve_positions(std::int64_t positions);
  void reserve_batch();
  void upload_batch(const PackedBatch& batch);
  TensorView layer_input(std::int64_t layer) const;
  void start(const PackedBatch& batch, const DropoutKey& dropout, bool training);
  void final_norm();
  void probe(std::string_view name, ConstTensorView tensor) const;

  std::unique_ptr<MistralWeights> weights_;  // its address is in layers_
  LoraAdapter* adapter_;
  DeviceMemory* memory_;
  ActivationPlan plan_;
  std::unique_ptr<DeviceStream> stream_;  // of a device: all work of the model is queued here
  std::unique_ptr<Workspace> workspace_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;

  std::int64_t capacity_tokens_ = 0;
  bool capacity_backward_ = false;
  RopeTable rope_;
  OwnedTensor rope_cos_, rope_sin_;  // of a device
  LayerBuffers buffers_;
  std::vector<LayerKept> kept_;      // one a layer, with a backward pass
  std::vector<OwnedTensor> inputs_;  // [T, C] each: of every layer; one shared by all without a backward pass
  OwnedTensor dx_;                   // [T, C]
  std::vector<float> losses_;        // [T]
  OwnedTensor device_losses_;        // of a device: [1, T]
  OwnedTensor ids_, labels_, position_ids_, cu_seqlens_;  // of a device

  LayerContext context_;  // of the pass that runs
  Int32Array batch_ids_, targets_;
  bool training_ = false;
};

}  // namespace shori
