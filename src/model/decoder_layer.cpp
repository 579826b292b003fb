#include "shori/model/decoder_layer.h"

#include <algorithm>
#include <string>

#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/swiglu.h"

namespace shori {

namespace {

LinearModule make_module(const LayerWeights& weights, const LoraAdapter* adapter, std::int64_t layer, int index,
                         int& slots) {
  LinearModule module;
  module.weight = frozen_view(weights.linears[static_cast<std::size_t>(index)]);
  module.index = index;
  if (adapter == nullptr || !adapter->settings().targets[static_cast<std::size_t>(index)]) return module;
  const LoraFactor* a = adapter->find(layer, index, false);
  const LoraFactor* b = adapter->find(layer, index, true);
  module.slot = slots++;
  module.a = a->copy.data<void>();
  module.b_scaled = b->copy.data<void>();
  module.da = a->gradient.data<float>();
  module.db = b->gradient.data<float>();
  return module;
}

std::int64_t extended_columns(const LinearGroup& group) { return group.in() + group.extension_columns(); }

// The dropout key of this layer for rows that begin at `first_token`.
DropoutKey key_of(const LayerContext& context, const DecoderLayer& layer, std::int64_t first_token) {
  DropoutKey key = context.dropout;
  key.layer = layer.index;
  key.first_token = static_cast<std::uint32_t>(first_token);
  return key;
}

std::optional<LoraInputGradient> lora_part(const LinearGroup& group, const DropoutKey& key) {
  if (group.slots() == 0) return std::nullopt;
  return LoraInputGradient{&group, key};
}

void probe(const LayerContext& context, const DecoderLayer& layer, std::string_view name, ConstTensorView tensor,
           std::int64_t first_token) {
  if (!context.probe) return;
  context.probe("layers." + std::to_string(layer.index) + "." + std::string(name), tensor, first_token);
}

// Output of a group: each module's columns under its own name.
void probe_outputs(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group, ConstTensorView y,
                   std::int64_t first_token) {
  if (!context.probe) return;
  std::int64_t column = 0;
  for (const LinearModule& module : group.modules) {
    const std::string name = std::string(kLinearKinds[static_cast<std::size_t>(module.index)].name) + " output";
    probe(context, layer, name, y.slice_cols(column, module.weight.rows), first_token);
    column += module.weight.rows;
  }
}

// y = W x + B' A x for the group whose normed input stands in x_extended.
void forward_group(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group,
                   std::int64_t first_token, TensorView x_extended, TensorView y) {
  if (group.slots() > 0) lora_down(context.ops, group, key_of(context, layer, first_token), x_extended);
  nf4_linear(context.ops, group, x_extended, y);
  probe_outputs(context, layer, group, y, first_token);
}

// LoRA gradients of the group, and [dx | dxA] of its input.
void backward_group(const LayerContext& context, const DecoderLayer& layer, const LinearGroup& group,
                    std::int64_t first_token, ConstTensorView x_extended, ConstTensorView dy, TensorView dx_extended) {
  if (group.slots() > 0) lora_grad_b(context.ops, group, x_extended, dy);
  nf4_linear_backward(context.ops, group, dy, dx_extended);
  if (group.slots() > 0) lora_grad_a(context.ops, group, key_of(context, layer, first_token), x_extended, dx_extended);
  if (context.probe) {
    const std::string_view name = kLinearKinds[static_cast<std::size_t>(group.modules.front().index)].name;
    probe(context, layer, "input gradient of " + std::string(name), dx_extended, first_token);
  }
}

// The columns of q and k heads, which the rotation turns.
TensorView rotated_heads(const DecoderLayer& layer, TensorView qkv) {
  return qkv.slice_cols(0, (layer.attention.heads + layer.attention.kv_heads) * layer.attention.head_dim);
}

// From x to the output of o, which lands in buffers.delta.
void forward_attention(const LayerContext& context, const DecoderLayer& layer, TensorView x, bool join,
                       LayerBuffers& buffers) {
  const std::int64_t tokens = context.tokens();
  const TensorView input = buffers.attention_input.view(tokens);
  const TensorView qkv = buffers.qkv.view(tokens);
  const TensorView output = buffers.attention_output.view(tokens);
  const TensorView delta = buffers.delta.view(tokens);
  const TensorView normed = input.slice_cols(0, x.cols);
  if (join) {
    rms_norm(context.ops, buffers.hidden.view(tokens), delta, x, layer.input_norm, layer.rms_norm_eps, normed);
    probe(context, layer, "input", x, 0);
  } else {
    rms_norm(context.ops, x, std::nullopt, std::nullopt, layer.input_norm, layer.rms_norm_eps, normed);
  }
  probe(context, layer, "input_layernorm output", normed, 0);
  forward_group(context, layer, layer.qkv, 0, input, qkv);
  rope(context.ops, *context.rope, context.position_ids, false, rotated_heads(layer, qkv));
  const TensorView heads = output.slice_cols(0, layer.o.in());
  attention(context.ops, layer.attention, qkv, context.cu_seqlens, heads,
            buffers.log_sum_exp.view_as(layer.attention.heads, tokens));
  probe(context, layer, "attention output", heads, 0);
  forward_group(context, layer, layer.o, 0, output, delta);
}

// Views of one tile of tokens.
struct MlpTile {
  std::int64_t first, tokens;
  TensorView hidden, delta;            // rows of the whole micro-batch
  TensorView input, gate_up, product;  // the tile's own memory
};
MlpTile make_tile(const LayerContext& context, LayerBuffers& buffers, std::int64_t first) {
  const std::int64_t tokens = std::min(kMlpTile, context.tokens() - first);
  return {first,
          tokens,
          buffers.hidden.view().slice_rows(first, tokens),
          buffers.delta.view().slice_rows(first, tokens),
          buffers.mlp_input.view(tokens),
          buffers.gate_up.view(tokens),
          buffers.product.view(tokens)};
}

// h = x + delta, and from there to p = silu(gate) * up.
void forward_mlp_product(const LayerContext& context, const DecoderLayer& layer, TensorView x, const MlpTile& tile) {
  const TensorView normed = tile.input.slice_cols(0, x.cols);
  rms_norm(context.ops, x.slice_rows(tile.first, tile.tokens), tile.delta, tile.hidden, layer.post_attention_norm,
           layer.rms_norm_eps, normed);
  probe(context, layer, "attention residual", tile.hidden, tile.first);
  probe(context, layer, "post_attention_layernorm output", normed, tile.first);
  forward_group(context, layer, layer.gate_up, tile.first, tile.input, tile.gate_up);
  const TensorView product = tile.product.slice_cols(0, layer.down.in());
  swiglu(context.ops, tile.gate_up, product);
  probe(context, layer, "gated product", product, tile.first);
}

// `dx`: gradient of the layer's output on entry, of h on return. Swiglu's backward destroys gate and up, so down comes
// first.
void backward_mlp_tile(const LayerContext& context, const DecoderLayer& layer, const MlpTile& tile,
                       LayerBuffers& buffers, TensorView dx) {
  const DropoutKey key = key_of(context, layer, tile.first);
  const TensorView dproduct = buffers.dproduct.view(tile.tokens);
  const TensorView dinput = buffers.dmlp_input.view(tile.tokens);
  if (layer.down.slots() > 0) lora_down(context.ops, layer.down, key, tile.product);
  backward_group(context, layer, layer.down, tile.first, tile.product, dx, dproduct);
  swiglu_backward(context.ops, dproduct, lora_part(layer.down, key), tile.gate_up);
  backward_group(context, layer, layer.gate_up, tile.first, tile.input, tile.gate_up, dinput);
  rms_norm_backward(context.ops, tile.hidden, layer.post_attention_norm, layer.rms_norm_eps, dinput,
                    lora_part(layer.gate_up, key), dx, dx);
  probe(context, layer, "attention residual gradient", dx, tile.first);
}

// `dx`: gradient of h on entry, of x on return.
void backward_attention(const LayerContext& context, const DecoderLayer& layer, ConstTensorView x,
                        LayerBuffers& buffers, TensorView dx, bool skip_input_gradient) {
  const std::int64_t tokens = context.tokens();
  const DropoutKey key = key_of(context, layer, 0);
  const TensorView output = buffers.attention_output.view(tokens);
  const TensorView doutput = buffers.dattention_output.view(tokens);
  const TensorView dqkv = buffers.dqkv.view(tokens);
  const TensorView input = buffers.attention_input.view(tokens);
  const TensorView dinput = buffers.dattention_input.view(tokens);
  backward_group(context, layer, layer.o, 0, output, dx, doutput);
  attention_backward(context.ops, layer.attention, buffers.qkv.view(tokens), context.cu_seqlens,
                     output.slice_cols(0, layer.o.in()), buffers.log_sum_exp.view_as(layer.attention.heads, tokens),
                     doutput, lora_part(layer.o, key), dqkv);
  probe(context, layer, "attention input gradient", dqkv, 0);
  rope(context.ops, *context.rope, context.position_ids, true, rotated_heads(layer, dqkv));
  backward_group(context, layer, layer.qkv, 0, input, dqkv, dinput);
  if (skip_input_gradient) return;
  rms_norm_backward(context.ops, x, layer.input_norm, layer.rms_norm_eps, dinput, lora_part(layer.qkv, key), dx, dx);
  probe(context, layer, "input gradient", dx, 0);
}

}  // namespace

DecoderLayer::DecoderLayer(const MistralConfig& config, const LayerWeights& weights, const LoraAdapter* adapter,
                           std::int64_t layer)
    : input_norm(weights.input_norm.view()),
      post_attention_norm(weights.post_attention_norm.view()),
      rms_norm_eps(config.rms_norm_eps),
      attention{config.heads, config.kv_heads, config.head_dim, config.sliding_window},
      index(static_cast<std::uint32_t>(layer)) {
  const auto make_group = [&](LinearGroup& group, int first, int count) {
    int slots = 0;
    for (int module = first; module < first + count; ++module) {
      modules_[static_cast<std::size_t>(module)] = make_module(weights, adapter, layer, module, slots);
    }
    group.modules = std::span(modules_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    group.rank = adapter == nullptr ? 0 : adapter->settings().rank;
    group.scaling = adapter == nullptr ? 0.0f : adapter->settings().scaling();
  };
  make_group(qkv, 0, 3);
  make_group(o, 3, 1);
  make_group(gate_up, 4, 2);
  make_group(down, 6, 1);
}

void LayerBuffers::reserve(const DecoderLayer& layer, DType activation, std::int64_t tokens, bool backward) {
  if (tokens <= tokens_ && (!backward || backward_)) return;
  tokens_ = std::max(tokens, tokens_);
  backward_ = backward_ || backward;
  const std::int64_t hidden_size = layer.input_norm.cols;
  const std::int64_t tile = std::min(tokens_, kMlpTile);
  const auto make = [&](OwnedTensor& tensor, std::int64_t rows, std::int64_t cols) {
    tensor = OwnedTensor();
    // Tails of extended rows must not hold NaN: they are multiplied by zeros.
    tensor = OwnedTensor::zeros(activation, rows, cols);
  };
  make(attention_input, tokens_, extended_columns(layer.qkv));
  make(qkv, tokens_, layer.qkv.out());
  make(attention_output, tokens_, extended_columns(layer.o));
  log_sum_exp = OwnedTensor::zeros(DType::kF32, layer.attention.heads, tokens_);
  make(hidden, tokens_, hidden_size);
  make(delta, tokens_, hidden_size);
  make(mlp_input, tile, extended_columns(layer.gate_up));
  make(gate_up, tile, layer.gate_up.out());
  make(product, tile, extended_columns(layer.down));
  if (!backward_) return;
  make(dattention_input, tokens_, extended_columns(layer.qkv));
  make(dqkv, tokens_, layer.qkv.out());
  make(dattention_output, tokens_, extended_columns(layer.o));
  make(dmlp_input, tile, extended_columns(layer.gate_up));
  make(dproduct, tile, extended_columns(layer.down));
}

void forward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, bool join,
                   LayerBuffers& buffers) {
  forward_attention(context, layer, x, join, buffers);
  for (std::int64_t first = 0; first < context.tokens(); first += kMlpTile) {
    const MlpTile tile = make_tile(context, buffers, first);
    forward_mlp_product(context, layer, x, tile);
    forward_group(context, layer, layer.down, first, tile.product, tile.delta);
  }
}

void backward_layer(const LayerContext& context, const DecoderLayer& layer, TensorView x, LayerBuffers& buffers,
                    TensorView dx, bool skip_input_gradient) {
  forward_attention(context, layer, x, false, buffers);
  for (std::int64_t first = 0; first < context.tokens(); first += kMlpTile) {
    const MlpTile tile = make_tile(context, buffers, first);
    forward_mlp_product(context, layer, x, tile);
    backward_mlp_tile(context, layer, tile, buffers, dx.slice_rows(first, tile.tokens));
  }
  backward_attention(context, layer, x, buffers, dx, skip_input_gradient);
}

}  // namespace shori
