// The passes of a decoder layer.
#include <algorithm>
#include <string>

#include "shori/model/decoder_layer.h"
#include "shori/ops/cached_attention.h"
#include "shori/ops/decode_linear.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/swiglu.h"
#include "shori/util/text.h"

namespace shori {

namespace {

// The dropout key of this layer for rows that begin at `first_token`.
DropoutKey key_of(const LayerContext& context, const DecoderLayer& layer, std::int64_t first_token) {
  DropoutKey key = context.dropout;
  key.layer = layer.index;
  key.first_token = static_cast<std::uint32_t>(first_token);
  return key;
}

// Where a device keeps the group's dropout masks from lora_grad_a to the op that completes the gradient of its input.
std::optional<TensorView> masks_of(const LayerBuffers& buffers, const LinearGroup& group, const DropoutKey& key,
                                   std::int64_t tokens) {
  if (!buffers.masks || group.lora_count() == 0 || key.probability == 0) return std::nullopt;
  return buffers.masks.view_as(tokens, group.mask_bytes());
}

std::optional<LoraInputGradient> lora_part(const LinearGroup& group, const DropoutKey& key,
                                           const std::optional<TensorView>& masks) {
  if (group.lora_count() == 0) return std::nullopt;
  return LoraInputGradient{&group, key, masks};
}

void probe(const LayerContext& context, const DecoderLayer& layer, std::string_view name, ConstTensorView tensor,
           std::int64_t first_token) {
  if (!context.probe) return;
  context.probe(concat("layers.", layer.index, ".", name), tensor, first_token);
}

// Output of a group: each module's columns under its own name.
void probe_outputs(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group, ConstTensorView y,
                   std::int64_t first_token) {
  if (!context.probe) return;
  std::int64_t column = 0;
  for (const LinearModule& module : group.modules) {
    probe(context, layer, concat(name_of(module.linear), " output"), y.slice_cols(column, module.weight.rows),
          first_token);
    column += module.weight.rows;
  }
}

// The group with the memory for its decoded weights, if there is some.
LinearGroup with_decoded(const LayerContext& context, LinearGroup group) {
  if (context.decoded == nullptr) return group;
  DecodedWeight& decoded = (*context.decoded)[index_of(group.modules.front().linear)];
  if (decoded.memory.data != nullptr) group.decoded = &decoded;
  return group;
}

// What is decoded belongs to the layer before, or to factors before an update.
void forget_decoded(const LayerContext& context) {
  if (context.decoded == nullptr) return;
  for (DecodedWeight& decoded : *context.decoded) decoded.is_filled = false;
}

// y = W x + B' A x for the group whose normed input is in fused_x.
void forward_group(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group,
                   std::int64_t first_token, TensorView fused_x, TensorView y) {
  if (context.cache != nullptr && context.tokens() <= kMaxDecodeTokens) {
    decode_linear(context.ops, group, fused_x, y);
  } else {
    if (group.lora_count() > 0) lora_down(context.ops, group, key_of(context, layer, first_token), fused_x);
    nf4_linear(context.ops, with_decoded(context, group), fused_x, y);
  }
  probe_outputs(context, layer, group, y, first_token);
}

// LoRA gradients of the group, [dx | dxA] of its input, and its masks.
void backward_group(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group,
                    std::int64_t first_token, ConstTensorView fused_x, ConstTensorView dy, TensorView fused_dx,
                    const std::optional<TensorView>& masks) {
  if (group.lora_count() > 0) lora_grad_b(context.ops, group, fused_x, dy);
  nf4_linear_backward(context.ops, with_decoded(context, group), dy, fused_dx);
  if (group.lora_count() > 0) {
    lora_grad_a(context.ops, group, key_of(context, layer, first_token), fused_x, fused_dx, masks);
  }
  if (context.probe) {
    const std::string name = concat("input gradient of ", name_of(group.modules.front().linear));
    probe(context, layer, name, fused_dx, first_token);
  }
}

// The columns of q and k heads, which the rotation turns.
TensorView rotated_heads(const DecoderLayer& layer, TensorView qkv) {
  return qkv.slice_cols(0, (layer.attention.heads + layer.attention.kv_heads) * layer.attention.head_dim);
}

// Tensors of the layer for the tokens of this micro-batch: where they are saved, else in the shared buffers.
struct LayerTensors {
  TensorView attention_input, qkv, attention_output, log_sum_exp, hidden, delta;
};
LayerTensors tensors_of(const LayerContext& context, const DecoderLayer& layer, const LayerBuffers& buffers,
                        const SavedActivations& saved) {
  const std::int64_t tokens = context.tokens();
  const bool all = saved.recompute == Recompute::kNone, attention = saved.recompute != Recompute::kAll;
  return {buffers.attention_input.view(tokens),
          (all ? saved.qkv : buffers.qkv).view(tokens),
          (attention ? saved.attention_output : buffers.attention_output).view(tokens),
          (attention ? saved.log_sum_exp : buffers.log_sum_exp).view_as(layer.attention.heads, tokens),
          saved.hidden_of(buffers).view(tokens),
          buffers.delta.view(tokens)};
}

// The LoRA columns of a group's fused input, and the same rows where they are saved.
TensorView lora_columns_of(const LinearGroup& group, TensorView fused) {
  return fused.slice_cols(group.in(), group.lora_columns());
}
TensorView rows_of(const OwnedTensor& saved, std::int64_t first, std::int64_t count) {
  return saved.view().slice_rows(first, count);
}

// From x to q, k, v.
void forward_qkv(const LayerContext& context, const DecoderLayer& layer, TensorView x,
                 std::optional<ConstTensorView> hidden_before, const LayerTensors& tensors,
                 const SavedActivations& saved) {
  const TensorView normed = tensors.attention_input.slice_cols(0, x.cols);
  if (hidden_before) {
    rms_norm(context.ops, *hidden_before, tensors.delta, x, layer.input_norm, layer.rms_norm_eps, normed);
    probe(context, layer, "input", x, 0);
  } else {
    rms_norm(context.ops, x, std::nullopt, std::nullopt, layer.input_norm, layer.rms_norm_eps, normed);
  }
  probe(context, layer, "input_layernorm output", normed, 0);
  forward_group(context, layer, layer.qkv, 0, tensors.attention_input, tensors.qkv);
  if (saved.qkv_xa) {
    copy_matrix(context.ops, lora_columns_of(layer.qkv, tensors.attention_input), rows_of(saved.qkv_xa, 0, x.rows));
  }
  rope(context.ops, *context.rope, context.position_ids, false, rotated_heads(layer, tensors.qkv));
}

// From q, k, v to the output of o, which lands in delta.
void forward_attention(const LayerContext& context, const DecoderLayer& layer, const LayerTensors& tensors) {
  const TensorView heads = tensors.attention_output.slice_cols(0, layer.o.in());
  if (context.cache != nullptr) {
    cached_attention(context.ops, layer.attention, tensors.qkv, context.cache->layer(layer.index),
                     context.cache->length(), heads);
  } else {
    attention(context.ops, layer.attention, tensors.qkv, context.cu_seqlens, heads, tensors.log_sum_exp);
  }
  probe(context, layer, "attention output", heads, 0);
  forward_group(context, layer, layer.o, 0, tensors.attention_output, tensors.delta);
}

// Views of one tile of tokens.
struct MlpTile {
  std::int64_t first, tokens;
  TensorView hidden, delta;            // rows of the whole micro-batch
  TensorView input, gate_up, product;  // the tile's own memory, gate_up also the layer's
};
MlpTile make_tile(const LayerContext& context, const LayerTensors& tensors, const LayerBuffers& buffers,
                  const SavedActivations& saved, std::int64_t first) {
  const std::int64_t tokens = std::min(buffers.mlp_tile, context.tokens() - first);
  return {first,
          tokens,
          tensors.hidden.slice_rows(first, tokens),
          tensors.delta.slice_rows(first, tokens),
          buffers.mlp_input.view(tokens),
          saved.gate_up ? rows_of(saved.gate_up, first, tokens) : buffers.gate_up.view(tokens),
          buffers.product.view(tokens)};
}

// h = x + delta, and its norm. Without x, h is there already.
void forward_mlp_norm(const LayerContext& context, const DecoderLayer& layer, std::optional<ConstTensorView> x,
                      const MlpTile& tile) {
  const TensorView normed = tile.input.slice_cols(0, tile.hidden.cols);
  if (x) {
    rms_norm(context.ops, x->slice_rows(tile.first, tile.tokens), tile.delta, tile.hidden, layer.post_attention_norm,
             layer.rms_norm_eps, normed);
    probe(context, layer, "attention residual", tile.hidden, tile.first);
  } else {
    rms_norm(context.ops, tile.hidden, std::nullopt, std::nullopt, layer.post_attention_norm, layer.rms_norm_eps,
             normed);
  }
  probe(context, layer, "post_attention_layernorm output", normed, tile.first);
}

// p = silu(gate) * up.
void forward_swiglu(const LayerContext& context, const DecoderLayer& layer, const MlpTile& tile) {
  const TensorView product = tile.product.slice_cols(0, layer.down.in());
  swiglu(context.ops, tile.gate_up, product);
  probe(context, layer, "gated product", product, tile.first);
}

// From x and delta, or from a saved h, to p.
void forward_mlp_product(const LayerContext& context, const DecoderLayer& layer, std::optional<ConstTensorView> x,
                         const MlpTile& tile) {
  forward_mlp_norm(context, layer, x, tile);
  forward_group(context, layer, layer.gate_up, tile.first, tile.input, tile.gate_up);
  forward_swiglu(context, layer, tile);
}

// The tile as the forward pass had it when it came to down.
void restore_mlp_product(const LayerContext& context, const DecoderLayer& layer, TensorView x, const MlpTile& tile,
                         const SavedActivations& saved) {
  const DropoutKey key = key_of(context, layer, tile.first);
  if (saved.recompute == Recompute::kNone) {
    forward_mlp_norm(context, layer, std::nullopt, tile);
    forward_swiglu(context, layer, tile);
    if (saved.gate_up_xa) {
      copy_matrix(context.ops, rows_of(saved.gate_up_xa, tile.first, tile.tokens),
                  lora_columns_of(layer.gate_up, tile.input));
    }
    if (saved.down_xa) {
      copy_matrix(context.ops, rows_of(saved.down_xa, tile.first, tile.tokens),
                  lora_columns_of(layer.down, tile.product));
    }
    return;
  }
  const bool has_hidden = saved.recompute == Recompute::kMlp;
  forward_mlp_product(context, layer, has_hidden ? std::nullopt : std::optional<ConstTensorView>(x), tile);
  if (layer.down.lora_count() > 0) lora_down(context.ops, layer.down, key, tile.product);
}

// `dx`: gradient of the layer's output on entry, of h on return. Swiglu's backward destroys gate and up, so down comes
// first.
void backward_mlp_tile(const LayerContext& context, const DecoderLayer& layer, const MlpTile& tile,
                       const LayerBuffers& buffers, TensorView dx) {
  const DropoutKey key = key_of(context, layer, tile.first);
  const TensorView dproduct = buffers.dproduct.view(tile.tokens);
  const TensorView dinput = buffers.dmlp_input.view(tile.tokens);
  const auto down_masks = masks_of(buffers, layer.down, key, tile.tokens);
  backward_group(context, layer, layer.down, tile.first, tile.product, dx, dproduct, down_masks);
  swiglu_backward(context.ops, dproduct, lora_part(layer.down, key, down_masks), tile.gate_up);
  const auto masks = masks_of(buffers, layer.gate_up, key, tile.tokens);
  backward_group(context, layer, layer.gate_up, tile.first, tile.input, tile.gate_up, dinput, masks);
  rms_norm_backward(context.ops, tile.hidden, layer.post_attention_norm, layer.rms_norm_eps, dinput,
                    lora_part(layer.gate_up, key, masks), dx, dx);
  probe(context, layer, "attention residual gradient", dx, tile.first);
}

// The attention's input and q, k, v as the forward pass had them.
void restore_qkv(const LayerContext& context, const DecoderLayer& layer, TensorView x, const LayerTensors& tensors,
                 const SavedActivations& saved) {
  if (saved.recompute == Recompute::kMlp) return forward_qkv(context, layer, x, std::nullopt, tensors, saved);
  if (saved.recompute != Recompute::kNone) return;
  rms_norm(context.ops, x, std::nullopt, std::nullopt, layer.input_norm, layer.rms_norm_eps,
           tensors.attention_input.slice_cols(0, x.cols));
  if (saved.qkv_xa) {
    copy_matrix(context.ops, rows_of(saved.qkv_xa, 0, x.rows), lora_columns_of(layer.qkv, tensors.attention_input));
  }
}

// `dx`: gradient of h on entry, of x on return.
void backward_attention(const LayerContext& context, const DecoderLayer& layer, ConstTensorView x,
                        const LayerTensors& tensors, const LayerBuffers& buffers, TensorView dx,
                        bool skip_input_gradient) {
  const std::int64_t tokens = context.tokens();
  const DropoutKey key = key_of(context, layer, 0);
  const TensorView doutput = buffers.fused_gradient.view_as(tokens, layer.o.fused_in());
  const TensorView dinput = buffers.fused_gradient.view_as(tokens, layer.qkv.fused_in());
  const TensorView dqkv = buffers.dqkv.view(tokens);
  const auto o_masks = masks_of(buffers, layer.o, key, tokens);
  backward_group(context, layer, layer.o, 0, tensors.attention_output, dx, doutput, o_masks);
  attention_backward(context.ops, layer.attention, tensors.qkv, context.cu_seqlens,
                     tensors.attention_output.slice_cols(0, layer.o.in()), tensors.log_sum_exp, doutput,
                     lora_part(layer.o, key, o_masks), dqkv);
  probe(context, layer, "attention input gradient", dqkv, 0);
  rope(context.ops, *context.rope, context.position_ids, true, rotated_heads(layer, dqkv));
  const auto masks = masks_of(buffers, layer.qkv, key, tokens);
  backward_group(context, layer, layer.qkv, 0, tensors.attention_input, dqkv, dinput, masks);
  if (skip_input_gradient) return;
  rms_norm_backward(context.ops, x, layer.input_norm, layer.rms_norm_eps, dinput, lora_part(layer.qkv, key, masks), dx,
                    dx);
  probe(context, layer, "input gradient", dx, 0);
}

}  // namespace

void forward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x,
                   std::optional<ConstTensorView> hidden_before, LayerBuffers& buffers, const SavedActivations& saved) {
  const LayerTensors tensors = tensors_of(context, layer, buffers, saved);
  forget_decoded(context);
  forward_qkv(context, layer, x, hidden_before, tensors, saved);
  forward_attention(context, layer, tensors);
  for (std::int64_t first = 0; first < context.tokens(); first += buffers.mlp_tile) {
    const MlpTile tile = make_tile(context, tensors, buffers, saved, first);
    forward_mlp_product(context, layer, ConstTensorView(x), tile);
    forward_group(context, layer, layer.down, first, tile.product, tile.delta);
    if (saved.gate_up_xa) {
      copy_matrix(context.ops, lora_columns_of(layer.gate_up, tile.input),
                  rows_of(saved.gate_up_xa, first, tile.tokens));
    }
    if (saved.down_xa) {
      copy_matrix(context.ops, lora_columns_of(layer.down, tile.product), rows_of(saved.down_xa, first, tile.tokens));
    }
  }
}

void backward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, LayerBuffers& buffers,
                    TensorView dx, bool skip_input_gradient, const SavedActivations& saved) {
  const LayerTensors tensors = tensors_of(context, layer, buffers, saved);
  forget_decoded(context);
  if (saved.recompute == Recompute::kAll) {
    forward_qkv(context, layer, x, std::nullopt, tensors, saved);
    forward_attention(context, layer, tensors);
  }
  for (std::int64_t first = 0; first < context.tokens(); first += buffers.mlp_tile) {
    const MlpTile tile = make_tile(context, tensors, buffers, saved, first);
    restore_mlp_product(context, layer, x, tile, saved);
    backward_mlp_tile(context, layer, tile, buffers, dx.slice_rows(first, tile.tokens));
  }
  restore_qkv(context, layer, x, tensors, saved);
  backward_attention(context, layer, x, tensors, buffers, dx, skip_input_gradient);
}

}  // namespace shori
