// Activation checkpointing: what the forward pass saves of each layer for the backward pass, and what is recomputed; and what
// scratch memory saves time in either pass. Every choice gives the same bits: saved tensors are exact copies, recomputing runs
// the same functions on the same inputs in the same order, and sums of LoRA gradients are cut where tiles are.
#pragma once

#include <cstdint>
#include <vector>

namespace shori {

// What the backward pass of a layer recomputes.
enum class Recompute : std::uint8_t {
  kAll,   // only the layer's input [T, C] is saved: everything but down_proj is recomputed
  kMlp,   // the attention's output, its log-sum-exp and h are saved too: q, k, v, gate and up are recomputed
  kNone,  // q, k, v, gate, up and xA of every group are saved too: only the norms and SwiGLU are recomputed
};

// Tokens of a tile of the MLP. A longer tile is a multiple of this.
inline constexpr std::int64_t kMlpTile = 4096;

struct CheckpointingPolicy {
  std::vector<Recompute> layers;  // one entry per layer
  std::int64_t mlp_tile = kMlpTile;
  bool decode_once =
      false;  // a device keeps all weights of a layer decoded from their first product of a pass to the last

  static CheckpointingPolicy uniform(std::int64_t layer_count, Recompute recompute) {
    return {.layers = std::vector<Recompute>(static_cast<std::size_t>(layer_count), recompute)};
  }
};

}  // namespace shori
