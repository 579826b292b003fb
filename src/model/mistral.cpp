#include "shori/model/mistral.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "shori/ops/embed.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/util/error.h"
#include "shori/util/signals.h"

namespace shori {

namespace {

bool is_finite(ConstTensorView tensor, std::int64_t row) {
  for (std::int64_t column = 0; column < tensor.cols; ++column) {
    const float value =
        tensor.dtype == DType::kF32 ? tensor.row<float>(row)[column] : to_float(tensor.row<Bf16>(row)[column]);
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// First row with NaN or Inf.
std::optional<std::int64_t> non_finite_row(ConstTensorView tensor) {
  for (std::int64_t row = 0; row < tensor.rows; ++row) {
    if (!is_finite(tensor, row)) return row;
  }
  return std::nullopt;
}

std::string gradient_name(const LoraFactor& factor) {
  return "layers." + std::to_string(factor.layer) + "." +
         std::string(kLinearKinds[static_cast<std::size_t>(factor.module)].name) +
         (factor.is_b ? ".lora_B" : ".lora_A") + " gradient";
}

PackedBatch batch_of_prompt(std::span<const std::int32_t> ids) {
  PackedBatch batch;
  batch.ids.assign(ids.begin(), ids.end());
  batch.labels.assign(ids.size(), kNoLabel);
  for (std::size_t i = 0; i < ids.size(); ++i) batch.position_ids.push_back(static_cast<std::int32_t>(i));
  batch.cu_seqlens = {0, static_cast<std::int32_t>(ids.size())};
  batch.max_seqlen = batch.real_tokens = static_cast<std::int64_t>(ids.size());
  return batch;
}

}  // namespace

Mistral::Mistral(MistralWeights weights, LoraAdapter* adapter, std::optional<ActivationPlan> plan)
    : weights_(std::make_unique<MistralWeights>(std::move(weights))),
      adapter_(adapter),
      plan_(plan ? *std::move(plan) : ActivationPlan::recompute_all(layer_count())),
      workspace_(std::make_unique<Workspace>()) {
  SHORI_CHECK(static_cast<std::int64_t>(plan_.layers.size()) == layer_count(),
              "an activation plan has one entry a layer");
  SHORI_CHECK(adapter == nullptr || adapter->activation() == weights_->activation,
              "adapter and model compute in the same dtype");
  for (std::int64_t layer = 0; layer < layer_count(); ++layer) {
    layers_.push_back(
        std::make_unique<DecoderLayer>(config(), weights_->layers[static_cast<std::size_t>(layer)], adapter, layer));
  }
  context_.ops.workspace = workspace_.get();
}

void Mistral::reserve(std::int64_t tokens, std::int64_t positions, bool backward) {
  if (positions > rope_.positions) {
    rope_ = make_rope_table(weights_->activation, positions, config().head_dim, config().rope_theta);
  }
  if (tokens <= capacity_tokens_ && (!backward || capacity_backward_)) return;
  capacity_tokens_ = std::max(tokens, capacity_tokens_);
  capacity_backward_ = capacity_backward_ || backward;
  buffers_.reserve(*layers_.front(), weights_->activation, capacity_tokens_, capacity_backward_);
  const auto make = [&] { return OwnedTensor::zeros(weights_->activation, capacity_tokens_, config().hidden_size); };
  inputs_.clear();
  for (std::int64_t i = 0; i < (capacity_backward_ ? layer_count() + 1 : 1); ++i) inputs_.push_back(make());
  normed_ = make();
  if (capacity_backward_) {
    dnormed_ = make();
    dx_ = make();
  }
  losses_.resize(static_cast<std::size_t>(capacity_tokens_));
}

TensorView Mistral::layer_input(std::int64_t layer) const {
  return inputs_[training_ ? static_cast<std::size_t>(layer) : 0].view(context_.tokens());
}

void Mistral::probe(std::string_view name, ConstTensorView tensor) const {
  if (context_.probe) context_.probe(name, tensor, 0);
}

void Mistral::start(const PackedBatch& batch, const DropoutKey& dropout, bool training) {
  reserve(static_cast<std::int64_t>(batch.ids.size()), batch.max_seqlen, training);
  batch_ = &batch;
  training_ = training;
  context_.rope = &rope_;
  context_.position_ids = batch.position_ids;
  context_.cu_seqlens = batch.cu_seqlens;
  context_.dropout = dropout;
  embed(context_.ops, weights_->embedding.view(), batch.ids, layer_input(0));
  probe("embedding", layer_input(0));
}

void Mistral::begin(const PackedBatch& batch, const DropoutKey& dropout) {
  SHORI_CHECK(adapter_ != nullptr, "a model without adapter is not trained");
  start(batch, dropout, true);
}

void Mistral::forward_layer(std::int64_t layer) {
  shori::forward_layer(context_, *layers_[static_cast<std::size_t>(layer)], layer_input(layer), layer > 0, buffers_);
}

void Mistral::final_norm() {
  const std::int64_t tokens = context_.tokens();
  const TensorView x = layer_input(layer_count());
  rms_norm(context_.ops, buffers_.hidden.view(tokens), buffers_.delta.view(tokens), x, weights_->final_norm.view(),
           config().rms_norm_eps, normed_.view(tokens));
  probe("input of the final norm", x);
}

std::span<const float> Mistral::head_loss(double gradient_weight) {
  const std::int64_t tokens = context_.tokens();
  const std::span<float> losses(losses_.data(), static_cast<std::size_t>(tokens));
  final_norm();
  const TensorView normed = normed_.view(tokens);
  std::optional<TensorView> dnormed;
  if (training_) dnormed = dnormed_.view(tokens);
  shori::head_loss(context_.ops, normed, weights_->head_weight().view(), batch_->labels, gradient_weight, losses,
                   dnormed);
  probe("loss", {losses.data(), DType::kF32, tokens, 1, 1});
  if (training_) {
    rms_norm_backward(context_.ops, layer_input(layer_count()), weights_->final_norm.view(), config().rms_norm_eps,
                      *dnormed, std::nullopt, std::nullopt, dx_.view(tokens));
    probe("gradient of the last layer's output", dx_.view(tokens));
  }
  return losses;
}

void Mistral::backward_layer(std::int64_t layer) {
  const auto index = static_cast<std::size_t>(layer);
  switch (plan_.layers[index]) {
    case KeepOfLayer::kInput:
      shori::backward_layer(context_, *layers_[index], layer_input(layer), buffers_, dx_.view(context_.tokens()),
                            layer == 0);
  }
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
  const OwnedTensor& weight = weights_->head_weight();
  LinearModule head;
  head.weight = {.dtype = weight.dtype(), .rows = weight.rows(), .cols = weight.cols(), .dense = weight.data<void>()};
  const LinearGroup group{.modules = {&head, 1}};
  const OwnedTensor rounded = OwnedTensor::make(weights_->activation, context_.tokens(), weight.rows());
  nf4_linear(context_.ops, group, normed_.view(context_.tokens()), rounded.view());
  std::vector<float> logits(static_cast<std::size_t>(rounded.count()));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = rounded.dtype() == DType::kF32 ? rounded.data<float>()[i] : to_float(rounded.data<Bf16>()[i]);
  }
  return logits;
}

std::optional<NonFiniteTensor> Mistral::find_non_finite(const PackedBatch& batch, const DropoutKey& dropout,
                                                        double gradient_weight) {
  std::optional<NonFiniteTensor> found;
  context_.probe = [&](std::string_view name, ConstTensorView tensor, std::int64_t first_token) {
    if (found) return;
    if (const auto row = non_finite_row(tensor)) found = NonFiniteTensor{std::string(name), first_token + *row};
  };
  adapter_->zero_gradients();
  begin(batch, dropout);
  for (std::int64_t layer = 0; layer < layer_count() && !found; ++layer) forward_layer(layer);
  if (!found) head_loss(gradient_weight);
  for (std::int64_t layer = layer_count() - 1; layer >= 0 && !found; --layer) backward_layer(layer);
  context_.probe = nullptr;
  for (const LoraFactor& factor : adapter_->factors()) {
    if (!found && non_finite_row(factor.gradient.view())) found = NonFiniteTensor{gradient_name(factor)};
  }
  return found;
}

}  // namespace shori
