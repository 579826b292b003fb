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

#include "shori/model/activation_plan.h"
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
  std::array<LinearModule, kLinearCount> modules_;
};

// Sees each tensor that a pass makes; only the search for the first non-finite one sets it. `first_token`: token of row
// 0.
using TensorProbe = std::function<void(std::string_view name, ConstTensorView tensor, std::int64_t first_token)>;

// What all layers share in one micro-batch.
struct LayerContext {
  OpContext ops;
  const RopeTable* rope = nullptr;
  Int32Array position_ids;  // [T]
  Int32Array cu_seqlens;    // [n + 1]
  DropoutKey dropout;       // layer and first_token are set by the layer
  TensorProbe probe;        // usually empty

  std::int64_t tokens() const { return static_cast<std::int64_t>(position_ids.size()); }
};

// Memory that a pass needs at a time: all layers use the same. On a device, tensors that are never needed together
// share memory.
class LayerBuffers {
 public:
  // Makes room for micro-batches of up to `tokens`; `layer` is any layer of the model. `plan`: what layers keep
  // themselves is not made here. `arena`: of a device, whose earlier pieces for these buffers are given back; null: the
  // host's memory.
  void reserve(const DecoderLayer& layer, DType activation, std::int64_t tokens, bool backward,
               const ActivationPlan* plan = nullptr, DeviceArena* arena = nullptr);

  OwnedTensor hidden;  // [T, C]: h
  OwnedTensor delta;   // [T, C]: what is to be added to h: output of o, later of down

  // While a layer's attention runs, forward or backward.
  OwnedTensor attention_input;   // [T, C + E]: norm of the layer's input and its xA
  OwnedTensor qkv;               // [T, (H + 2 Hkv) D], rotated
  OwnedTensor attention_output;  // [T, H D + E]
  OwnedTensor log_sum_exp;       // [H, T] fp32
  // In their place, while the head runs: input of the final norm, its output, and the gradient of that.
  OwnedTensor final_input, normed, dnormed;  // [T, C]

  // While the MLP runs, a tile at a time.
  OwnedTensor mlp_input;             // [tile, C + E]
  OwnedTensor gate_up;               // [tile, 2 F]
  OwnedTensor product;               // [tile, F + E]
  OwnedTensor dmlp_input, dproduct;  // as mlp_input and product
  // In their place, in the backward pass of the attention.
  OwnedTensor dqkv;       // as qkv
  OwnedTensor dextended;  // first [T, H D + E], gradient of o's input, then [T, C + E], of that of q, k, v
};

// What one layer keeps for its backward pass: nothing but its input, or tensors that stand in the place of those of
// LayerBuffers.
struct LayerKept {
  KeepOfLayer keep = KeepOfLayer::kInput;
  OwnedTensor attention_output, log_sum_exp, hidden;  // kAttention and kAll
  OwnedTensor qkv;                                    // kAll
  OwnedTensor gate_up;                                // kAll, [T, 2 F]
  OwnedTensor qkv_xa, gate_up_xa, down_xa;            // kAll, the tails of their groups' inputs, [T, E]

  static LayerKept make(const DecoderLayer& layer, DType activation, std::int64_t tokens, KeepOfLayer keep,
                        DeviceArena* arena);
  const OwnedTensor& hidden_of(const LayerBuffers& buffers) const {
    return keep == KeepOfLayer::kInput ? buffers.hidden : hidden;
  }
};

// x [T, C] is the layer's input. With `hidden_before` it is made first: x = hidden_before + buffers.delta, as the layer
// before left them (the add is part of the norm). Leaves h in kept.hidden_of(buffers) and the output of down in
// buffers.delta.
void forward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x,
                   std::optional<ConstTensorView> hidden_before, LayerBuffers& buffers, const LayerKept& kept = {});

// Runs what was not kept of the layer again from x, then backward. dx [T, C]: gradient of the layer's output on entry,
// of its input on return; with `skip_input_gradient` (first layer: nothing below is trained) undefined on return. LoRA
// gradients are added to the adapter's. Kept gate and up are used up: one backward pass for each forward pass.
void backward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, LayerBuffers& buffers,
                    TensorView dx, bool skip_input_gradient, const LayerKept& kept = {});

}  // namespace shori
