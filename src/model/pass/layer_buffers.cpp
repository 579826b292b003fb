#include <algorithm>

#include "shori/model/decoder_layer.h"

namespace shori {

namespace {

std::int64_t extended_columns(const LinearGroup& group) { return group.in() + group.extension_columns(); }

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
  const std::int64_t hidden_size = layer.input_norm.cols, tile = std::min(tokens, kMlpTile);
  const auto make = [&](OwnedTensor& tensor, std::int64_t rows, std::int64_t cols) {
    tensor = OwnedTensor::zeros(activation, rows, cols, arena);
  };
  if (arena != nullptr) arena->begin("buffers of a pass");
  if (scratch_attention) make(hidden, tokens, hidden_size);
  make(delta, tokens, hidden_size);
  {
    Sharing sharing(arena, "attention, or head");
    make(attention_input, tokens, extended_columns(layer.qkv));
    if (scratch_products) make(qkv, tokens, layer.qkv.out());
    if (scratch_attention) {
      make(attention_output, tokens, extended_columns(layer.o));
      log_sum_exp = OwnedTensor::zeros(DType::kF32, layer.attention.heads, tokens, arena);
    }
    sharing.alternative();
    make(final_input, tokens, hidden_size);
    make(normed, tokens, hidden_size);
    if (backward) make(dnormed, tokens, hidden_size);
  }
  Sharing sharing(arena, "MLP tile, or gradients of the attention");
  make(mlp_input, tile, extended_columns(layer.gate_up));
  if (scratch_products) make(gate_up, tile, layer.gate_up.out());
  make(product, tile, extended_columns(layer.down));
  if (!backward) return;
  make(dmlp_input, tile, extended_columns(layer.gate_up));
  make(dproduct, tile, extended_columns(layer.down));
  sharing.alternative();
  make(dqkv, tokens, layer.qkv.out());
  make(dextended, tokens, std::max(extended_columns(layer.o), extended_columns(layer.qkv)));
}

SavedActivations SavedActivations::make(const DecoderLayer& layer, DType activation, std::int64_t tokens,
                                        Recompute recompute, DeviceArena* arena) {
  SavedActivations saved;
  saved.recompute = recompute;
  if (recompute == Recompute::kAll) return saved;
  const auto make = [&](std::int64_t cols) { return OwnedTensor::zeros(activation, tokens, cols, arena); };
  saved.attention_output = make(extended_columns(layer.o));
  saved.log_sum_exp = OwnedTensor::zeros(DType::kF32, layer.attention.heads, tokens, arena);
  saved.hidden = make(layer.input_norm.cols);
  if (recompute == Recompute::kMlp) return saved;
  saved.qkv = make(layer.qkv.out());
  saved.gate_up = make(layer.gate_up.out());
  const auto make_tail = [&](OwnedTensor& tail, const LinearGroup& group) {
    if (group.slots() > 0) tail = make(group.extension_columns());
  };
  make_tail(saved.qkv_xa, layer.qkv);
  make_tail(saved.gate_up_xa, layer.gate_up);
  make_tail(saved.down_xa, layer.down);
  return saved;
}

}  // namespace shori
