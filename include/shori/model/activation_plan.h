// What the forward pass keeps of each layer for its backward pass. Every mode gives the same bits: kept tensors are
// exact copies, and recomputing runs the same functions on the same inputs in the same order. A further place for kept
// tensors, host memory, would be one more choice for each layer here.
#pragma once

#include <cstdint>
#include <vector>

namespace shori {

enum class KeepOfLayer : std::uint8_t {
  kInput,      // the residual stream at the layer's input, [T, C]; all but down_proj is computed again
  kAttention,  // also the attention's output and log-sum-exp, and h: q, k, v, gate and up are computed again
  kAll,        // also q, k, v, gate, up, and xA of every group: only norms and SwiGLU are computed again
};

struct ActivationPlan {
  std::vector<KeepOfLayer> layers;  // one entry a layer

  static ActivationPlan same_for_all(std::int64_t layer_count, KeepOfLayer keep) {
    return {std::vector<KeepOfLayer>(static_cast<std::size_t>(layer_count), keep)};
  }
  static ActivationPlan recompute_all(std::int64_t layer_count) {
    return same_for_all(layer_count, KeepOfLayer::kInput);
  }
};

}  // namespace shori
