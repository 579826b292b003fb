// The model once more, by ATen operations and autograd, in any floating dtype: float64 is the oracle, fp32 and bf16 are
// what a framework makes of it. Rounds where transformers and PEFT round.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "shori/model/lora_adapter.h"
#include "shori/model/mistral_weights.h"
#include "shori/ops/packed_batch.h"
#include "shori/ops/rope.h"
#include "shori/util/philox.h"

namespace shori {

inline at::Tensor to_double(ConstTensorView view) {
  at::Tensor tensor = at::empty({view.rows, view.cols}, at::kDouble);
  for (std::int64_t row = 0; row < view.rows; ++row) {
    double* target = tensor.data_ptr<double>() + row * view.cols;
    for (std::int64_t col = 0; col < view.cols; ++col) {
      target[col] = view.dtype == DType::kF32 ? view.row<float>(row)[col] : to_float(view.row<Bf16>(row)[col]);
    }
  }
  return tensor;
}

inline at::Tensor to_double(const LinearWeight& weight) {
  if (const auto* dense = std::get_if<OwnedTensor>(&weight)) return to_double(dense->view());
  const auto& nf4 = std::get<Nf4Weight>(weight);
  const auto [rows, cols, nested] = nf4.layout;
  std::vector<float> values(static_cast<std::size_t>(nf4.layout.count()));
  dequantize_nf4(nf4.view(), 0, values);
  return to_double(ConstTensorView{values.data(), DType::kF32, rows, cols, cols});
}

// 1 where kept, else 0; [tokens, columns]. Written from the definition of the masks, not from the ops.
inline at::Tensor dropout_mask(const DropoutKey& key, std::uint32_t layer, int module, std::int64_t tokens,
                               std::int64_t columns) {
  at::Tensor mask = at::ones({tokens, columns}, at::kDouble);
  const auto threshold = static_cast<std::uint32_t>(std::lround(65536.0 * key.probability));
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const PhiloxWords random =
          philox4x32(key.seed, {{static_cast<std::uint32_t>(column / 8), static_cast<std::uint32_t>(token), key.step,
                                 key.micro_batch << 16 | (layer * 8 + static_cast<std::uint32_t>(module))}});
      const std::uint32_t word = random.word[column % 8 / 2];
      const std::uint32_t draw = column % 2 == 0 ? word & 0xffffu : word >> 16;
      if (draw < threshold) mask.data_ptr<double>()[token * columns + column] = 0.0;
    }
  }
  return mask;
}

class ReferenceMistral {
 public:
  ReferenceMistral(const MistralWeights& weights, const LoraAdapter& adapter, at::ScalarType dtype)
      : weights_(weights), adapter_(adapter), dtype_(dtype), wide_(dtype == at::kDouble ? at::kDouble : at::kFloat) {
    for (const LoraFactor& factor : adapter.factors()) {
      factors_.push_back(to_double(factor.value.view()).to(wide_).set_requires_grad(true));
    }
  }

  // Losses [T] in `wide_`.
  at::Tensor losses(const PackedBatch& batch, const DropoutKey& dropout) {
    at::Tensor x = cast(to_double(weights_.embedding.view())).index_select(0, long_tensor(batch.ids));
    for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) x = layer_output(layer, x, batch, dropout);
    return losses_of(norm(x, weights_.final_norm), batch);
  }

  at::Tensor layer_output(std::size_t layer, const at::Tensor& x, const PackedBatch& batch, const DropoutKey& dropout) {
    const LayerWeights& weights = weights_.layers[layer];
    const auto linear = [&](int module, const at::Tensor& input) {
      return linear_output(layer, module, input, dropout);
    };
    const at::Tensor y = norm(x, weights.input_norm);
    const at::Tensor heads = attention(rotate(linear(0, y), batch), rotate(linear(1, y), batch), linear(2, y), batch);
    const at::Tensor h = x + linear(3, heads);
    const at::Tensor z = norm(h, weights.post_attention_norm);
    return h + linear(6, at::silu(linear(4, z)) * linear(5, z));
  }

  at::Tensor gradient(std::size_t factor) const { return factors_[factor].grad().to(at::kDouble); }
  at::ScalarType dtype() const { return dtype_; }

 private:
  at::Tensor cast(const at::Tensor& tensor) const { return tensor.to(dtype_); }
  template <typename T>
  static at::Tensor long_tensor(const std::vector<T>& values) {
    at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
    std::copy(values.begin(), values.end(), tensor.data_ptr<std::int64_t>());
    return tensor;
  }

  at::Tensor norm(const at::Tensor& x, const OwnedTensor& weight) const {
    const at::Tensor wide = x.to(wide_);
    const at::Tensor scale = at::rsqrt(wide.pow(2).mean(-1, true) + static_cast<double>(weights_.config.rms_norm_eps));
    return cast(to_double(weight.view())) * cast(wide * scale);
  }

  at::Tensor linear_output(std::size_t layer, int module, const at::Tensor& x, const DropoutKey& dropout) const {
    const at::Tensor base =
        at::matmul(x, cast(to_double(weights_.layers[layer].linears[static_cast<std::size_t>(module)])).t());
    const LoraFactor* a = adapter_.find(static_cast<std::int64_t>(layer), static_cast<Linear>(module), false);
    if (a == nullptr) return base;
    const auto index = static_cast<std::size_t>(a - adapter_.factors().data());
    at::Tensor dropped = x;
    if (dropout.probability > 0) {
      const at::Tensor mask =
          dropout_mask(dropout, static_cast<std::uint32_t>(layer), module, x.size(0), x.size(1)).to(wide_);
      dropped = cast(x.to(wide_) * mask * static_cast<double>(1.0f / (1.0f - dropout.probability)));
    }
    const at::Tensor down = at::matmul(dropped, cast(factors_[index]).t());
    const at::Tensor up = at::matmul(down, cast(factors_[index + 1]).t());
    return base + cast(up.to(wide_) * static_cast<double>(adapter_.settings().scaling()));
  }

  at::Tensor rotate(const at::Tensor& heads, const PackedBatch& batch) const {
    const std::int64_t dim = weights_.config.head_dim, count = heads.size(1) / dim;
    const std::vector<float> frequencies = rope_inverse_frequencies(dim, weights_.config.rope_theta);
    at::Tensor angles = at::empty({heads.size(0), 1, dim / 2}, at::kFloat);
    for (std::int64_t t = 0; t < heads.size(0); ++t) {
      for (std::int64_t k = 0; k < dim / 2; ++k) {
        angles.data_ptr<float>()[t * (dim / 2) + k] =
            static_cast<float>(batch.position_ids[static_cast<std::size_t>(t)]) *
            frequencies[static_cast<std::size_t>(k)];
      }
    }
    angles = at::cat({angles, angles}, 2).to(wide_);
    const at::Tensor x = heads.view({heads.size(0), count, dim});
    const at::Tensor turned = at::cat({-x.narrow(2, dim / 2, dim / 2), x.narrow(2, 0, dim / 2)}, 2);
    return (x * cast(angles.cos()) + turned * cast(angles.sin())).reshape(heads.sizes());
  }

  // One sample after the other, each with its own causal mask.
  at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const PackedBatch& batch) const {
    std::vector<at::Tensor> parts;
    for (std::size_t i = 0; i + 1 < batch.cu_seqlens.size(); ++i) {
      const std::int64_t first = batch.cu_seqlens[i], count = batch.cu_seqlens[i + 1] - first;
      parts.push_back(
          attention_of_sample(q.narrow(0, first, count), k.narrow(0, first, count), v.narrow(0, first, count)));
    }
    return at::cat(parts, 0);
  }

  at::Tensor attention_of_sample(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    const MistralConfig& config = weights_.config;
    const std::int64_t tokens = q.size(0);
    const auto heads_first = [&](const at::Tensor& x) {
      return x.reshape({tokens, -1, config.head_dim}).transpose(0, 1);
    };
    const std::int64_t group = config.heads / config.kv_heads;
    const at::Tensor keys = heads_first(k).repeat_interleave(group, 0),
                     values = heads_first(v).repeat_interleave(group, 0);
    const at::Tensor scores =
        at::matmul(heads_first(q), keys.transpose(1, 2)) / std::sqrt(static_cast<double>(config.head_dim));
    at::Tensor hidden = at::ones({tokens, tokens}, at::kBool).triu(1);
    if (config.sliding_window > 0)
      hidden = hidden.logical_or(at::ones({tokens, tokens}, at::kBool).tril(-config.sliding_window));
    const at::Tensor weights = scores.to(wide_).masked_fill(hidden, -INFINITY).softmax(-1);
    return at::matmul(cast(weights), values).transpose(0, 1).reshape({tokens, -1});
  }

  at::Tensor losses_of(const at::Tensor& normed, const PackedBatch& batch) const {
    const OwnedTensor& head = weights_.head_weight();
    const at::Tensor logits = at::matmul(normed, cast(to_double(head.view())).t()).to(wide_);
    const at::Tensor labels = long_tensor(batch.labels);
    const at::Tensor is_target = labels.ge(0);
    const at::Tensor chosen = logits.log_softmax(-1).gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1);
    return at::where(is_target, -chosen, at::zeros_like(chosen));
  }

  const MistralWeights& weights_;
  const LoraAdapter& adapter_;
  at::ScalarType dtype_, wide_;
  std::vector<at::Tensor> factors_;
};

// |a - b| / |b|, L2.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

}  // namespace shori
