// All tensors of the frozen base with their names, in the order of the modules.
#pragma once

#include <map>
#include <string>
#include <type_traits>

#include "shori/model/mistral_weights.h"
#include "shori/util/text.h"

namespace shori {

// visit(name, tensor): `tensor` is an OwnedTensor or a LinearWeight, const if `weights` is.
template <typename Weights, typename Visit>
void for_each_frozen(Weights& weights, const Visit& visit) {
  static_assert(std::is_same_v<std::remove_const_t<Weights>, MistralWeights>);
  visit(std::string("model.embed_tokens.weight"), weights.embedding);
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const std::string prefix = concat("model.layers.", i, ".");
    auto& layer = weights.layers[i];
    for (const Linear linear : kLinears) visit(concat(prefix, path_of(linear), ".weight"), layer[linear]);
    visit(prefix + "input_layernorm.weight", layer.input_norm);
    visit(prefix + "post_attention_layernorm.weight", layer.post_attention_norm);
  }
  visit(std::string("model.norm.weight"), weights.final_norm);
  if (!weights.config.tie_word_embeddings) visit(std::string("lm_head.weight"), weights.head);
}

// Where the values of one tensor of the files go: one of the two is set.
struct WeightSlot {
  OwnedTensor* dense = nullptr;
  Nf4Weight* nf4 = nullptr;
};

inline WeightSlot slot_of(OwnedTensor& tensor) { return {.dense = &tensor}; }
inline WeightSlot slot_of(LinearWeight& weight) {
  return {.dense = std::get_if<OwnedTensor>(&weight), .nf4 = std::get_if<Nf4Weight>(&weight)};
}

inline std::map<std::string, WeightSlot> weight_slots(MistralWeights& weights) {
  std::map<std::string, WeightSlot> slots;
  for_each_frozen(weights, [&](const std::string& name, auto& tensor) { slots.emplace(name, slot_of(tensor)); });
  return slots;
}

}  // namespace shori
