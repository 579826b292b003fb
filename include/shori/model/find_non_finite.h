// Searching a pass for the first tensor that holds NaN or Inf.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "shori/model/mistral.h"

namespace shori {

struct NonFiniteTensor {
  std::string name;         // "layers.12.down_proj output", "layers.3.self_attn.q_proj.lora_A gradient"
  std::int64_t token = -1;  // row in the micro-batch; -1: the tensor has no token rows
  bool is_product = false;  // of the frozen weights of a layer: nothing before it held NaN or Inf
};

// Runs a whole training pass and looks at every tensor that it makes. Gradients of the adapter are overwritten.
// nullopt: everything was finite.
std::optional<NonFiniteTensor> find_non_finite(Mistral& model, const PackedBatch& batch, const DropoutKey& dropout,
                                               double gradient_weight);

}  // namespace shori
