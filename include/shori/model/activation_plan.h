// What the forward pass keeps of each layer for its backward pass. Every mode gives the same bits: kept tensors are
// exact copies, and recomputing runs the same functions on the same inputs in the same order.
#pragma once

#include <cstdint>
#include <vector>

namespace shori {

enum class KeepOfLayer : std::uint8_t {
  kInput,  // the residual stream at the layer's input, [T, C]; the backward pass runs the layer's forward again
};

struct ActivationPlan {
  std::vector<KeepOfLayer> layers;  // one entry a layer

  static ActivationPlan recompute_all(std::int64_t layer_count) {
    return {std::vector<KeepOfLayer>(static_cast<std::size_t>(layer_count), KeepOfLayer::kInput)};
  }
};

}  // namespace shori
