// Shape of a Mistral-type model, as its config.json states it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

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
  bool plain_scales = false;         // a base that is NF4 in its files, with one fp32 scale a block

  std::int64_t q_size() const { return heads * head_dim; }
  std::int64_t kv_size() const { return kv_heads * head_dim; }
};

// The linear modules of a decoder layer that may carry an adapter, in canonical order: their numbers key the dropout
// masks and the initial values, and tensors are stored in this order.
inline constexpr int kLinearsOfLayer = 7;

struct LinearKind {
  std::string_view name;  // "q_proj"
  std::string_view path;  // "self_attn.q_proj": what stands behind "model.layers.{i}."
};
inline constexpr std::array<LinearKind, kLinearsOfLayer> kLinearKinds = {{{"q_proj", "self_attn.q_proj"},
                                                                          {"k_proj", "self_attn.k_proj"},
                                                                          {"v_proj", "self_attn.v_proj"},
                                                                          {"o_proj", "self_attn.o_proj"},
                                                                          {"gate_proj", "mlp.gate_proj"},
                                                                          {"up_proj", "mlp.up_proj"},
                                                                          {"down_proj", "mlp.down_proj"}}};

// Weight shape [out, in] of module `index` of a layer.
struct LinearShape {
  std::int64_t out = 0;
  std::int64_t in = 0;
};
constexpr LinearShape linear_shape(const MistralConfig& config, int index) {
  switch (index) {
    case 0:
      return {config.q_size(), config.hidden_size};
    case 1:
    case 2:
      return {config.kv_size(), config.hidden_size};
    case 3:
      return {config.hidden_size, config.q_size()};
    case 4:
    case 5:
      return {config.intermediate_size, config.hidden_size};
    default:
      return {config.hidden_size, config.intermediate_size};
  }
}

}  // namespace shori
