// One decoder layer, forward and backward, as a fixed sequence of ops. Source: transformers MistralDecoderLayer.
//
//   y = norm(x);  q k v = linears(y), rotated;  a = attention(q k v);  h = x + o(a)
//   z = norm(h);  p = silu(gate(z)) * up(z);    x' = h + down(p)
// The MLP runs in tiles of 4,096 tokens, which are part of the arithmetic: they bound memory, and tile sizes are
// multiples of the slab in which LoRA gradients are summed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/attention.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/ops/rope.h"

namespace shori {

inline constexpr std::int64_t kMlpTile = 4096;

// Weights and adapter of one layer as the ops take them. Points into weights, adapter, and itself: neither copied nor
// moved.
class DecoderLayer {
 public:
  // `adapter` may be null: the base model alone.
  DecoderLayer(const MistralConfig& config, const LayerWeights& weights, const LoraAdapter* adapter,
               std::int64_t layer);
  DecoderLayer(const DecoderLayer&) = delete;
  DecoderLayer& operator=(const DecoderLayer&) = delete;

  ConstTensorView input_norm, post_attention_norm;
  float rms_norm_eps;
  AttentionShape attention;
  LinearGroup qkv, o, gate_up, down;
  std::uint32_t index;

 private:
  std::array<LinearModule, kLinearsOfLayer> modules_;
};

// Sees each tensor that a pass makes; only the search for the first non-finite one sets it. `first_token`: token of row
// 0.
using TensorProbe = std::function<void(std::string_view name, ConstTensorView tensor, std::int64_t first_token)>;

// What all layers share in one micro-batch.
struct LayerContext {
  OpContext ops;
  const RopeTable* rope = nullptr;
  std::span<const std::int32_t> position_ids;  // [T]
  std::span<const std::int32_t> cu_seqlens;    // [n + 1]
  DropoutKey dropout;                          // layer and first_token are set by the layer
  TensorProbe probe;                           // usually empty

  std::int64_t tokens() const { return static_cast<std::int64_t>(position_ids.size()); }
};

// Memory that one layer needs at a time; all layers use the same.
class LayerBuffers {
 public:
  // Makes room for micro-batches of up to `tokens`; `layer` is any layer of the model.
  void reserve(const DecoderLayer& layer, DType activation, std::int64_t tokens, bool backward);

  OwnedTensor attention_input;   // [T, C + E]: norm of the layer's input and its xA
  OwnedTensor qkv;               // [T, (H + 2 Hkv) D], rotated
  OwnedTensor attention_output;  // [T, H D + E]
  OwnedTensor log_sum_exp;       // [H, T] fp32
  OwnedTensor hidden;            // [T, C]: h
  OwnedTensor delta;             // [T, C]: what is to be added to h: output of o, later of down
  OwnedTensor mlp_input;         // [tile, C + E]
  OwnedTensor gate_up;           // [tile, 2 F]
  OwnedTensor product;           // [tile, F + E]
  // Backward only.
  OwnedTensor dattention_input, dqkv, dattention_output, dmlp_input, dproduct;

 private:
  std::int64_t tokens_ = 0;
  bool backward_ = false;
};

// x [T, C] is the layer's input. With `join` it is made first: x = buffers.hidden + buffers.delta, as the layer before
// left them (the add is part of the norm). Leaves h in buffers.hidden and the output of down in buffers.delta.
void forward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, bool join,
                   LayerBuffers& buffers);

// Runs the layer again from x, then backward. dx [T, C]: gradient of the layer's output on entry, of its input on
// return; with `skip_input_gradient` (first layer: nothing below is trained) undefined on return. LoRA gradients are
// added to the adapter's.
void backward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, LayerBuffers& buffers,
                    TensorView dx, bool skip_input_gradient);

}  // namespace shori
