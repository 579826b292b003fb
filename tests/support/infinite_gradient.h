// A model whose loss is finite and whose gradient is not.
#pragma once

#include <algorithm>
#include <limits>
#include <span>

#include "shori/model/mistral.h"

namespace shori {

// A of the last down_proj is 0, so its B of the largest finite values adds nothing to the forward pass and overflows in the
// gradient of A. A large final norm makes the gradients that arrive there large.
inline void make_gradient_infinite(Mistral& model, LoraAdapter& adapter) {
  auto& weights = const_cast<MistralWeights&>(model.weights());
  for (float& value : std::span(weights.final_norm.data<float>(), static_cast<std::size_t>(weights.config.hidden_size)))
    value *= 1e4f;
  for (LoraFactor& factor : adapter.factors()) {
    if (factor.layer == weights.config.layers - 1 && factor.linear == Linear::kDown)
      std::ranges::fill(factor.values(), factor.is_b ? 0.25f * std::numeric_limits<float>::max() : 0.0f);
  }
  adapter.upload(model.ops());
}

}  // namespace shori
