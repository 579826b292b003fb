#include "shori/model/mistral_weights.h"

#include "src/model/weights/device_loader.h"
#include "src/model/weights/frozen_tensors.h"

namespace shori {
namespace {

LinearWeight allocate_linear(const LinearShape& shape, const WeightFormat& format, DeviceArena* arena) {
  if (!format.quantize) return OwnedTensor::make(format.activation, shape.out, shape.in, arena);
  return Nf4Weight::make({shape.out, shape.in, format.nested}, arena);
}

}  // namespace

FrozenWeight frozen_view(const LinearWeight& weight) {
  if (const auto* nf4 = std::get_if<Nf4Weight>(&weight)) return FrozenWeight::of(nf4->view());
  const auto& dense = std::get<OwnedTensor>(weight);
  return FrozenWeight::of(dense.dtype(), dense.rows(), dense.cols(), dense.data<void>());
}

std::size_t MistralWeights::bytes() const {
  std::size_t total = embedding.bytes() + final_norm.bytes() + head.bytes();
  for (const LayerWeights& layer : layers) {
    total += layer.input_norm.bytes() + layer.post_attention_norm.bytes();
    for (const LinearWeight& linear : layer.linears) {
      total += std::visit([](const auto& weight) { return weight.bytes(); }, linear);
    }
  }
  return total;
}

MistralWeights allocate_weights(const MistralConfig& config, const WeightFormat& format, DeviceArena* arena) {
  const auto begin = [&](const char* category) {
    if (arena != nullptr) arena->begin(category);
  };
  const auto dense = [&](std::int64_t rows) {
    return OwnedTensor::make(format.activation, rows, config.hidden_size, arena);
  };
  MistralWeights weights;
  weights.config = config;
  weights.activation = format.activation;
  begin("embedding and head");
  weights.embedding = dense(config.vocab_size);
  if (!config.tie_word_embeddings) weights.head = dense(config.vocab_size);
  begin("norms");
  weights.final_norm = dense(1);
  weights.layers.resize(static_cast<std::size_t>(config.layers));
  for (LayerWeights& layer : weights.layers) {
    layer.input_norm = dense(1);
    layer.post_attention_norm = dense(1);
  }
  begin(format.quantize ? "linear weights, NF4" : "linear weights, 16 bits");
  for (LayerWeights& layer : weights.layers) {
    for (const Linear linear : kLinears) layer[linear] = allocate_linear(shape_of(config, linear), format, arena);
  }
  if (arena != nullptr) plan_load_memory(config, *arena);
  return weights;
}

}  // namespace shori
