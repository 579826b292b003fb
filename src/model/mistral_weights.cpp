#include "shori/model/mistral_weights.h"

#include "shori/ops/base_checksum.h"

namespace shori {

namespace {

// Folds `value` into `sum`, so that order matters.
std::uint64_t fold(std::uint64_t sum, std::uint64_t value) {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio
  return (sum ^ value) * kOdd + (sum >> 32);
}

std::uint64_t checksum_of(const OpContext& context, const OwnedTensor& tensor) {
  return base_checksum(context, tensor.data<void>(), tensor.bytes());
}

std::uint64_t checksum_of(const OpContext& context, const Nf4Tensor& tensor) {
  std::uint64_t sum = base_checksum(context, tensor.codes.data(), tensor.codes.size());
  sum = fold(sum, base_checksum(context, tensor.absmax.data(), tensor.absmax.size()));
  sum = fold(sum, base_checksum(context, tensor.absmax2.data(), tensor.absmax2.size() * sizeof(float)));
  return fold(sum, base_checksum(context, &tensor.offset, sizeof(float)));
}

std::size_t bytes_of(const LinearWeight& weight) {
  return std::visit([](const auto& tensor) { return tensor.bytes(); }, weight);
}

// visit(name, tensor) for every frozen tensor, in the order of the modules.
template <typename Visit>
void for_each_tensor(const MistralWeights& weights, const Visit& visit) {
  visit("model.embed_tokens.weight", weights.embedding);
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (std::size_t i = 0; i < kLinearKinds.size(); ++i) {
      std::visit([&](const auto& tensor) { visit(prefix + std::string(kLinearKinds[i].path) + ".weight", tensor); },
                 weights.layers[layer].linears[i]);
    }
    visit(prefix + "input_layernorm.weight", weights.layers[layer].input_norm);
    visit(prefix + "post_attention_layernorm.weight", weights.layers[layer].post_attention_norm);
  }
  visit("model.norm.weight", weights.final_norm);
  if (weights.head) visit("lm_head.weight", weights.head);
}

FrozenWeight view_of(const OwnedTensor& tensor) {
  return {.dtype = tensor.dtype(), .rows = tensor.rows(), .cols = tensor.cols(), .dense = tensor.data<void>()};
}

FrozenWeight view_of(const Nf4Tensor& tensor) {
  return {.dtype = DType::kU8,
          .rows = tensor.rows,
          .cols = tensor.cols,
          .codes = tensor.codes.data(),
          .absmax = tensor.absmax.data(),
          .absmax2 = tensor.absmax2.data(),
          .offset = tensor.offset};
}

}  // namespace

FrozenWeight frozen_view(const LinearWeight& weight) {
  return std::visit([](const auto& tensor) { return view_of(tensor); }, weight);
}

std::size_t MistralWeights::bytes() const {
  std::size_t total = embedding.bytes() + final_norm.bytes() + head.bytes();
  for (const LayerWeights& layer : layers) {
    total += layer.input_norm.bytes() + layer.post_attention_norm.bytes();
    for (const LinearWeight& linear : layer.linears) total += bytes_of(linear);
  }
  return total;
}

std::uint64_t BaseChecksums::combined() const {
  std::uint64_t sum = 0;
  for (const Entry& entry : entries) sum = fold(sum, entry.sum);
  return sum;
}

BaseChecksums checksum_base(const OpContext& context, const MistralWeights& weights) {
  BaseChecksums checksums;
  for_each_tensor(weights, [&](const std::string& name, const auto& tensor) {
    checksums.entries.push_back({name, checksum_of(context, tensor)});
  });
  return checksums;
}

std::optional<std::string> find_changed_tensor(const OpContext& context, const MistralWeights& weights,
                                               const BaseChecksums& expected) {
  std::optional<std::string> changed;
  std::size_t index = 0;
  for_each_tensor(weights, [&](const std::string& name, const auto& tensor) {
    if (!changed && checksum_of(context, tensor) != expected.entries.at(index).sum) changed = name;
    ++index;
  });
  return changed;
}

}  // namespace shori
