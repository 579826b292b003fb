#include "shori/model/activation_plan.h"

namespace shori {

std::size_t kept_bytes(const ActivationPlan& plan, const MistralConfig& config, std::int64_t tokens, DType activation) {
  const std::size_t input = static_cast<std::size_t>(tokens * config.hidden_size) * size_of(activation);
  return plan.layers.size() * input;
}

}  // namespace shori
