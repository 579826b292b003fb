// The linear modules of a decoder layer: the ones that are quantized and that can have an adapter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace shori {

// In canonical order: the numbers key dropout masks and initial values, and tensors are stored in this order.
enum class Linear : std::uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr std::size_t kLinearCount = 7;
inline constexpr std::array<Linear, kLinearCount> kLinears = {Linear::kQ,    Linear::kK,  Linear::kV,   Linear::kO,
                                                              Linear::kGate, Linear::kUp, Linear::kDown};

inline constexpr std::array<std::string_view, kLinearCount> kLinearNames = {
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
// What follows "model.layers.{i}." in the name of its tensor.
inline constexpr std::array<std::string_view, kLinearCount> kLinearPaths = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

constexpr std::size_t index_of(Linear linear) { return static_cast<std::size_t>(linear); }
constexpr std::string_view name_of(Linear linear) { return kLinearNames[index_of(linear)]; }
constexpr std::string_view path_of(Linear linear) { return kLinearPaths[index_of(linear)]; }

// The linear called `name` ("q_proj").
constexpr std::optional<Linear> find_linear(std::string_view name) {
  for (const Linear linear : kLinears) {
    if (name_of(linear) == name) return linear;
  }
  return std::nullopt;
}

}  // namespace shori
