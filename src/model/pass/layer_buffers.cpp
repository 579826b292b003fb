#include <algorithm>

#include "shori/model/decoder_layer.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Opens a group of tensors that share memory, on a device only.
class Sharing {
 public:
  Sharing(DeviceArena* arena, const char* category) {
    if (arena == nullptr) return;
    arena->begin(category);
    group_.emplace(*arena);
  }
  void alternative() {
    if (group_) group_->alternative();
  }

 private:
  std::optional<DeviceArena::Shared> group_;
};

}  // namespace

void LayerBuffers::reserve(const DecoderLayer& layer, DType activation, std::int64_t tokens, bool backward,
                           const CheckpointingPolicy& policy, DeviceArena* arena) {
  *this = LayerBuffers();
  // Without a backward pass nothing is saved. A tensor that every layer saves needs no scratch memory.
  const bool scratch_attention =
      !backward || std::ranges::any_of(policy.layers, [](Recompute what) { return what == Recompute::kAll; });
  const bool scratch_products =
      !backward || std::ranges::any_of(policy.layers, [](Recompute what) { return what != Recompute::kNone; });
  const std::int64_t hidden_size = layer.input_norm.cols, tile = std::min(tokens, policy.mlp_tile);
  mlp_tile = policy.mlp_tile;
  const auto make = [&](OwnedTensor& tensor, std::int64_t rows, std::int64_t cols) {
    tensor = OwnedTensor::zeros(activation, rows, cols, arena);
  };
  if (arena != nullptr && policy.decode_once) reserve_decoded(layer, arena);
  if (arena != nullptr) arena->begin("buffers of a pass");
  if (scratch_attention) make(hidden, tokens, hidden_size);
  make(delta, tokens, hidden_size);
  if (backward && arena != nullptr && tokens > 0) {
    const std::int64_t attention_bytes = std::max(layer.qkv.mask_bytes(), layer.o.mask_bytes());
    const std::int64_t mlp_bytes = tile * std::max(layer.gate_up.mask_bytes(), layer.down.mask_bytes());
    const std::int64_t bytes = std::max(attention_bytes, ceil_div(mlp_bytes, tokens));
    if (bytes > 0) masks = OwnedTensor::zeros(DType::kU8, tokens, bytes, arena);
  }
  {
    Sharing sharing(arena, "attention, or head");
    make(attention_input, tokens, layer.qkv.fused_in());
    if (scratch_products) make(qkv, tokens, layer.qkv.out());
    if (scratch_attention) {
      make(attention_output, tokens, layer.o.fused_in());
      log_sum_exp = OwnedTensor::zeros(DType::kF32, layer.attention.heads, tokens, arena);
    }
    sharing.alternative();
    make(final_input, tokens, hidden_size);
    make(normed, tokens, hidden_size);
    if (backward) make(dnormed, tokens, hidden_size);
  }
  Sharing sharing(arena, "MLP tile, or gradients of the attention");
  make(mlp_input, tile, layer.gate_up.fused_in());
  if (scratch_products) make(gate_up, tile, layer.gate_up.out());
  make(product, tile, layer.down.fused_in());
  if (!backward) return;
  make(dmlp_input, tile, layer.gate_up.fused_in());
  make(dproduct, tile, layer.down.fused_in());
  sharing.alternative();
  make(dqkv, tokens, layer.qkv.out());
  make(fused_gradient, tokens, std::max(layer.o.fused_in(), layer.qkv.fused_in()));
}

void LayerBuffers::reserve_decoded(const DecoderLayer& layer, DeviceArena* arena) {
  arena->begin("decoded weights of a layer");
  for (const LinearGroup* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    const std::size_t first = index_of(group->modules.front().linear);
    decoded_memory[first] = OwnedTensor::make(DType::kBf16, group->out(), group->fused_in(), arena);
    decoded[first].memory = decoded_memory[first].view();
  }
}

SavedActivations SavedActivations::make(const DecoderLayer& layer, DType activation, std::int64_t tokens,
                                        Recompute recompute, DeviceArena* arena) {
  SavedActivations saved;
  saved.recompute = recompute;
  if (recompute == Recompute::kAll) return saved;
  const auto make = [&](std::int64_t cols) { return OwnedTensor::zeros(activation, tokens, cols, arena); };
  saved.attention_output = make(layer.o.fused_in());
  saved.log_sum_exp = OwnedTensor::zeros(DType::kF32, layer.attention.heads, tokens, arena);
  saved.hidden = make(layer.input_norm.cols);
  if (recompute == Recompute::kMlp) return saved;
  saved.qkv = make(layer.qkv.out());
  saved.gate_up = make(layer.gate_up.out());
  const auto make_xa = [&](OwnedTensor& xa, const LinearGroup& group) {
    if (group.lora_count() > 0) xa = make(group.lora_columns());
  };
  make_xa(saved.qkv_xa, layer.qkv);
  make_xa(saved.gate_up_xa, layer.gate_up);
  make_xa(saved.down_xa, layer.down);
  return saved;
}

}  // namespace shori
