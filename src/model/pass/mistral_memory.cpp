// The memory of a Mistral: activations, rotation table, micro-batch and workspace, reserved before the first pass.
#include <algorithm>
#include <utility>

#include "shori/model/mistral.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "src/model/pass/workspace_bytes.h"

namespace shori {

std::size_t Mistral::saved_bytes(std::int64_t tokens, Recompute recompute) const {
  DeviceArena counter = DeviceArena::planning(ArenaKind::kDevice);
  (void)SavedActivations::make(*layers_.front(), weights_->activation, tokens, recompute, &counter);
  return counter.used_bytes();
}

void Mistral::set_checkpointing(CheckpointingPolicy policy) {
  SHORI_CHECK(static_cast<std::int64_t>(policy.layers.size()) == layer_count(),
              "a checkpointing policy has one entry per layer");
  SHORI_CHECK(capacity_tokens_ == 0, "the checkpointing policy is set before memory is reserved");
  checkpointing_ = std::move(policy);
}

void Mistral::release() {
  wait_for_device(context_.ops);
  capacity_tokens_ = 0;
  capacity_backward_ = false;
  rope_ = RopeTable();
  rounded_logits_ = OwnedTensor();
  buffers_ = LayerBuffers();
  saved_.clear();
  inputs_.clear();
}

void Mistral::reserve(std::int64_t tokens, std::int64_t positions, bool backward) {
  DeviceArena* arena = on_device() ? &memory_->device : nullptr;
  const bool fits = tokens <= capacity_tokens_ && (!backward || capacity_backward_);
  SHORI_CHECK(!on_device() || capacity_tokens_ == 0 || (fits && positions <= rope_.positions),
              concat("a pass of ", tokens, " tokens was not planned"));
  if (positions > rope_.positions) reserve_positions(positions);
  if (fits) return;
  capacity_tokens_ = std::max(tokens, capacity_tokens_);
  capacity_backward_ = capacity_backward_ || backward;
  if (on_device()) reserve_batch();
  buffers_.reserve(*layers_.front(), weights_->activation, capacity_tokens_, capacity_backward_, checkpointing_, arena);
  if (arena != nullptr) arena->begin("saved activations");
  const auto make = [&] {
    return OwnedTensor::zeros(weights_->activation, capacity_tokens_, config().hidden_size, arena);
  };
  inputs_.clear();
  saved_.clear();
  for (std::int64_t i = 0; i < (capacity_backward_ ? layer_count() : 1); ++i) inputs_.push_back(make());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Recompute recompute = capacity_backward_ ? checkpointing_.layers[i] : Recompute::kAll;
    saved_.push_back(SavedActivations::make(*layers_[i], weights_->activation, capacity_tokens_, recompute, arena));
  }
  if (arena != nullptr) arena->begin("buffers of a pass");
  if (capacity_backward_) dx_ = make();
  losses_.resize(static_cast<std::size_t>(capacity_tokens_));
  if (on_device()) reserve_workspace();
}

// Rotation table, and on a device its copy there.
void Mistral::reserve_positions(std::int64_t positions) {
  const bool planning = on_device() && memory_->is_planning();
  if (planning) {
    rope_ = RopeTable();
    rope_.dtype = weights_->activation;
    rope_.positions = positions;
    rope_.half = config().head_dim / 2;
  } else {
    rope_ = make_rope_table(weights_->activation, positions, config().head_dim, config().rope_theta);
  }
  if (!on_device()) return;
  memory_->device.begin("micro-batch and rotation table");
  for (OwnedTensor* table : {&rope_cos_, &rope_sin_}) {
    *table = OwnedTensor::make(rope_.dtype, positions, rope_.half, &memory_->device);
  }
  if (planning) return;
  copy_to_device(rope_cos_.data<void>(), rope_.cos.data(), rope_cos_.bytes(), context_.ops.stream);
  copy_to_device(rope_sin_.data<void>(), rope_.sin.data(), rope_sin_.bytes(), context_.ops.stream);
  wait_for_device(context_.ops);
  rope_.device_cos = rope_cos_.data<void>();
  rope_.device_sin = rope_sin_.data<void>();
}

// The integers of a micro-batch that kernels read, and its losses.
void Mistral::reserve_batch() {
  memory_->device.begin("micro-batch and rotation table");
  const auto make = [&](DType dtype, std::int64_t count) {
    return OwnedTensor::make(dtype, 1, count, &memory_->device);
  };
  for (OwnedTensor* tensor : {&ids_, &labels_, &position_ids_}) *tensor = make(DType::kI32, capacity_tokens_);
  cu_seqlens_ = make(DType::kI32, capacity_tokens_ + 1);
  device_losses_ = make(DType::kF32, capacity_tokens_);
}

// Comes last, and waits for the default stream, on which everything made before was filled.
void Mistral::reserve_workspace() {
  memory_->device.begin(kWorkspaceCategory);
  const std::size_t bytes = device_workspace_bytes(*layers_.front(), config(), capacity_tokens_, capacity_backward_,
                                                   checkpointing_.decode_once);
  *workspace_ = Workspace(memory_->device.take(bytes + RedZones::room_on_device), bytes, RedZones::room_on_device);
  if (!memory_->is_planning()) synchronize_stream(nullptr);
}

}  // namespace shori
