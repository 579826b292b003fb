// One decoder layer, forward and backward, as a fixed sequence of ops. Source: transformers MistralDecoderLayer.
//
//   y = norm(x);  q k v = linears(y), rotated;  a = attention(q k v);  h = x + o(a)
//   z = norm(h);  p = silu(gate(z)) * up(z);    x' = h + down(p)
// The MLP runs in tiles of tokens (CheckpointingPolicy), which bound memory. Tile sizes are multiples of the slab in which
// LoRA gradients are summed, so they change no bit.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "shori/model/checkpointing_policy.h"
#include "shori/model/kv_cache.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/attention.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/ops/rope.h"

namespace shori {

// Weights and adapter of one layer as the ops take them. Not copyable or movable, as it points into itself.
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

// Called for each tensor that a pass makes. Only the search for non-finite values sets it. `first_token` is the token
// of row 0.
using TensorProbe = std::function<void(std::string_view name, ConstTensorView tensor, std::int64_t first_token)>;

// Memory of a device for the decoded weights of one layer at a time, at the index of the first linear of each group.
using DecodedWeights = std::array<DecodedWeight, kLinearCount>;

// What all layers share in one micro-batch.
struct LayerContext {
  OpContext ops;
  const RopeTable* rope = nullptr;
  Int32Array position_ids;            // [T]
  Int32Array cu_seqlens;              // [n + 1]
  DropoutKey dropout;                 // layer and first_token are set by the layer
  const KvCache* cache = nullptr;     // generation: the tokens follow those of the cache, and cu_seqlens is not read
  DecodedWeights* decoded = nullptr;  // null: every product decodes its weights
  TensorProbe probe;                  // usually empty

  std::int64_t tokens() const { return static_cast<std::int64_t>(position_ids.size()); }
};

// Scratch tensors of a pass; every layer reuses them. On a device, tensors that are never needed together share memory.
// C, F: hidden and feed-forward size. L: LoRA columns of the group that reads the tensor.
class LayerBuffers {
 public:
  // Allocates for micro-batches of up to `tokens`. `layer` is any layer of the model. Tensors that all layers save
  // themselves under `policy` are not allocated here. `arena`: of a device, in which these buffers have no memory yet;
  // null: host memory.
  void reserve(const DecoderLayer& layer, DType activation, std::int64_t tokens, bool backward,
               const CheckpointingPolicy& policy, DeviceArena* arena);

  OwnedTensor hidden;  // [T, C]: h
  OwnedTensor masks;   // backward pass on a device: the dropout masks of one group at a time, one bit per element
  OwnedTensor delta;   // [T, C]: pending residual: output of o_proj, later of down_proj, not yet added to h

  // In use while a layer's attention runs, forward or backward.
  OwnedTensor attention_input;   // [T, C + L]: norm of the layer's input and its xA
  OwnedTensor qkv;               // [T, (H + 2 Hkv) D], rotated
  OwnedTensor attention_output;  // [T, H D + L]
  OwnedTensor log_sum_exp;       // [H, T] fp32
  // In use, in the same memory, while the head runs: input of the final norm, its output, and the gradient of that.
  OwnedTensor final_input, normed, dnormed;  // [T, C]

  // In use while the MLP runs, one tile at a time.
  std::int64_t mlp_tile = kMlpTile;
  OwnedTensor mlp_input;             // [tile, C + L]
  OwnedTensor gate_up;               // [tile, 2 F]
  OwnedTensor product;               // [tile, F + L]
  OwnedTensor dmlp_input, dproduct;  // as mlp_input and product
  // In use, in the same memory, in the backward pass of the attention.
  OwnedTensor dqkv;            // as qkv
  OwnedTensor fused_gradient;  // first [T, H D + L]: gradient of o's input; then [T, C + L]: of the input of q, k, v

  // On a device, if the policy decodes once: of every group [out, fused in].
  std::array<OwnedTensor, kLinearCount> decoded_memory;
  DecodedWeights decoded;  // views of it; without it no memory

 private:
  void reserve_decoded(const DecoderLayer& layer, DeviceArena* arena);
};

// What one layer saves for its backward pass besides its input. A saved tensor takes the place of the scratch tensor of
// the same name.
struct SavedActivations {
  Recompute recompute = Recompute::kAll;
  OwnedTensor attention_output, log_sum_exp, hidden;  // kMlp and kNone
  OwnedTensor qkv;                                    // kNone
  OwnedTensor gate_up;                                // kNone, [T, 2 F]
  OwnedTensor qkv_xa, gate_up_xa, down_xa;            // kNone, the LoRA columns of their groups' inputs, [T, L]

  static SavedActivations make(const DecoderLayer& layer, DType activation, std::int64_t tokens, Recompute recompute,
                               DeviceArena* arena);
  const OwnedTensor& hidden_of(const LayerBuffers& buffers) const {
    return recompute == Recompute::kAll ? buffers.hidden : hidden;
  }
};

// x [T, C] is the layer's input. If `hidden_before` is given, x is computed first, as hidden_before + buffers.delta;
// the RMSNorm kernel fuses the addition. Leaves h in saved.hidden_of(buffers) and the output of down_proj in
// buffers.delta.
void forward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x,
                   std::optional<ConstTensorView> hidden_before, LayerBuffers& buffers, const SavedActivations& saved);

// Recomputes from x what was not saved, then runs the layer backward. dx [T, C]: gradient of the layer's output on
// entry, of its input on return; undefined on return with `skip_input_gradient` (first layer: nothing below it is
// trained). LoRA gradients are added to the adapter's. Saved gate and up are overwritten: one backward pass per forward
// pass.
void backward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, LayerBuffers& buffers,
                    TensorView dx, bool skip_input_gradient, const SavedActivations& saved);

}  // namespace shori
