#include "shori/model/decoder_layer.h"

#include <initializer_list>

namespace shori {
namespace {

LinearModule make_module(const LayerWeights& weights, const LoraAdapter* adapter, std::int64_t layer, Linear linear,
                         int& lora_count) {
  LinearModule module;
  module.weight = frozen_view(weights[linear]);
  module.linear = linear;
  if (adapter == nullptr || !adapter->settings().has(linear)) return module;
  const LoraFactor* a = adapter->find(layer, linear, false);
  const LoraFactor* b = adapter->find(layer, linear, true);
  module.lora_index = lora_count++;
  module.a = a->copy.data<void>();
  module.b_scaled = b->copy.data<void>();
  module.da = a->gradient.data<float>();
  module.db = b->gradient.data<float>();
  return module;
}

}  // namespace

DecoderLayer::DecoderLayer(const MistralConfig& config, const LayerWeights& weights, const LoraAdapter* adapter,
                           std::int64_t layer)
    : input_norm(weights.input_norm.view()),
      post_attention_norm(weights.post_attention_norm.view()),
      rms_norm_eps(config.rms_norm_eps),
      attention{config.heads, config.kv_heads, config.head_dim, config.sliding_window},
      index(static_cast<std::uint32_t>(layer)) {
  const auto make_group = [&](LinearGroup& group, std::initializer_list<Linear> linears) {
    int lora_count = 0;
    for (const Linear linear : linears) {
      modules_[index_of(linear)] = make_module(weights, adapter, layer, linear, lora_count);
    }
    group.modules = std::span(modules_).subspan(index_of(*linears.begin()), linears.size());
    group.rank = adapter == nullptr ? 0 : adapter->settings().rank;
    group.scaling = adapter == nullptr ? 0.0f : adapter->settings().scaling();
  };
  make_group(qkv, {Linear::kQ, Linear::kK, Linear::kV});
  make_group(o, {Linear::kO});
  make_group(gate_up, {Linear::kGate, Linear::kUp});
  make_group(down, {Linear::kDown});
}

}  // namespace shori
