// All tensors of the frozen base with their names, in the order of the modules.
#pragma once

#include <string>
#include <type_traits>

#include "shori/model/mistral_weights.h"

namespace shori {

// visit(name, tensor): `tensor` is an OwnedTensor or a LinearWeight, const if `weights` is.
template <typename Weights, typename Visit>
void for_each_frozen(Weights& weights, const Visit& visit) {
  static_assert(std::is_same_v<std::remove_const_t<Weights>, MistralWeights>);
  visit(std::string("model.embed_tokens.weight"), weights.embedding);
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (std::size_t i = 0; i < kLinearKinds.size(); ++i) {
      visit(prefix + std::string(kLinearKinds[i].path) + ".weight", weights.layers[layer].linears[i]);
    }
    visit(prefix + "input_layernorm.weight", weights.layers[layer].input_norm);
    visit(prefix + "post_attention_layernorm.weight", weights.layers[layer].post_attention_norm);
  }
  visit(std::string("model.norm.weight"), weights.final_norm);
  if (!weights.config.tie_word_embeddings) visit(std::string("lm_head.weight"), weights.head);
}

}  // namespace shori
