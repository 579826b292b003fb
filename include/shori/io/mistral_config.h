// Shape of a Mistral model.
#pragma once

#include <cstdint>

#include "shori/util/linear.h"

namespace shori {

struct MistralConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t sliding_window = 0;  // 0: none
  double rope_theta = 0;
  float rms_norm_eps = 0;
  bool tie_word_embeddings = false;  // the head is the embedding table

  std::int64_t q_size() const { return heads * head_dim; }
  std::int64_t kv_size() const { return kv_heads * head_dim; }
};

// Weight shape [out, in] of a linear module.
struct LinearShape {
  std::int64_t out = 0;
  std::int64_t in = 0;
};
constexpr LinearShape shape_of(const MistralConfig& config, Linear linear) {
  switch (linear) {
    case Linear::kQ:
      return {config.q_size(), config.hidden_size};
    case Linear::kK:
    case Linear::kV:
      return {config.kv_size(), config.hidden_size};
    case Linear::kO:
      return {config.hidden_size, config.q_size()};
    case Linear::kGate:
    case Linear::kUp:
      return {config.intermediate_size, config.hidden_size};
    case Linear::kDown:
      break;
  }
  return {config.hidden_size, config.intermediate_size};
}

}  // namespace shori
