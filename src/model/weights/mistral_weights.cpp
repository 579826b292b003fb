#include "shori/model/mistral_weights.h"

#include "shori/ops/base_checksum.h"
#include "shori/util/error.h"
#include "src/model/weights/frozen_tensors.h"
#include "src/model/weights/weight_loader.h"

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

// The offset is host memory on every device.
std::uint64_t fold_offset(std::uint64_t sum, float offset) {
  Workspace workspace;
  return fold(sum, base_checksum({.workspace = &workspace}, &offset, sizeof offset));
}

std::uint64_t checksum_of(const OpContext& context, const Nf4Tensor& tensor) {
  std::uint64_t sum = base_checksum(context, tensor.codes.data(), tensor.codes.size());
  if (!tensor.scales.empty()) {
    return fold(sum, base_checksum(context, tensor.scales.data(), tensor.scales.size() * sizeof(float)));
  }
  sum = fold(sum, base_checksum(context, tensor.absmax.data(), tensor.absmax.size()));
  sum = fold(sum, base_checksum(context, tensor.absmax2.data(), tensor.absmax2.size() * sizeof(float)));
  return fold_offset(sum, tensor.offset);
}

std::uint64_t checksum_of(const OpContext& context, const DeviceNf4& tensor) {
  std::uint64_t sum = checksum_of(context, tensor.codes);
  if (tensor.scales) return fold(sum, checksum_of(context, tensor.scales));
  sum = fold(sum, checksum_of(context, tensor.absmax));
  sum = fold(sum, checksum_of(context, tensor.absmax2));
  return fold_offset(sum, tensor.offset);
}

std::size_t bytes_of(const LinearWeight& weight) {
  return std::visit([](const auto& tensor) { return tensor.bytes(); }, weight);
}

std::uint64_t checksum_of(const OpContext& context, const LinearWeight& weight) {
  return std::visit([&](const auto& tensor) { return checksum_of(context, tensor); }, weight);
}

FrozenWeight view_of(const OwnedTensor& tensor) {
  return {.dtype = tensor.dtype(), .rows = tensor.rows(), .cols = tensor.cols(), .dense = tensor.data<void>()};
}

FrozenWeight view_of(const DeviceNf4& tensor) {
  return {.dtype = DType::kU8,
          .rows = tensor.rows,
          .cols = tensor.cols,
          .codes = tensor.codes.data<std::uint8_t>(),
          .absmax = tensor.absmax.data<std::uint8_t>(),
          .absmax2 = tensor.absmax2.data<float>(),
          .offset = tensor.offset,
          .scales = tensor.scales.data<float>()};
}

FrozenWeight view_of(const Nf4Tensor& tensor) {
  return {.dtype = DType::kU8,
          .rows = tensor.rows,
          .cols = tensor.cols,
          .codes = tensor.codes.data(),
          .absmax = tensor.absmax.data(),
          .absmax2 = tensor.absmax2.data(),
          .offset = tensor.offset,
          .scales = tensor.scales.empty() ? nullptr : tensor.scales.data()};
}

DeviceNf4 allocate_nf4(const LinearShape& shape, bool plain_scales, DeviceArena& arena) {
  const std::int64_t count = shape.out * shape.in, blocks = (count + 63) / 64;
  DeviceNf4 tensor;
  tensor.rows = shape.out;
  tensor.cols = shape.in;
  tensor.codes = OwnedTensor::make(DType::kU8, 1, (count + 1) / 2, &arena);
  if (plain_scales) {
    tensor.scales = OwnedTensor::make(DType::kF32, 1, blocks, &arena);
    return tensor;
  }
  tensor.absmax = OwnedTensor::make(DType::kU8, 1, blocks, &arena);
  tensor.absmax2 = OwnedTensor::make(DType::kF32, 1, (blocks + 255) / 256, &arena);
  return tensor;
}

void upload_bytes(const void* from, std::size_t bytes, OwnedTensor& to) {
  SHORI_CHECK(to.bytes() == bytes, "a weight does not fit the memory that was planned for it");
  copy_to_device(to.data<void>(), from, bytes, nullptr);
  synchronize_stream(nullptr);
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

MistralWeights allocate_weights(const MistralConfig& config, DType activation, bool quantize, DeviceArena& arena) {
  const auto dense = [&](std::int64_t rows, std::int64_t cols) {
    return OwnedTensor::make(activation, rows, cols, &arena);
  };
  MistralWeights weights;
  weights.config = config;
  weights.activation = activation;
  arena.begin("embedding and head");
  weights.embedding = dense(config.vocab_size, config.hidden_size);
  if (!config.tie_word_embeddings) weights.head = dense(config.vocab_size, config.hidden_size);
  arena.begin("norms");
  weights.final_norm = dense(1, config.hidden_size);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = dense(1, config.hidden_size);
    layer.post_attention_norm = dense(1, config.hidden_size);
  }
  arena.begin(quantize ? "linear weights, NF4" : "linear weights, 16 bits");
  for (LayerWeights& layer : weights.layers) {
    for (int module = 0; module < kLinearsOfLayer; ++module) {
      const LinearShape shape = linear_shape(config, module);
      LinearWeight& linear = layer.linears[static_cast<std::size_t>(module)];
      if (quantize) {
        linear = allocate_nf4(shape, config.plain_scales, arena);
      } else {
        linear = dense(shape.out, shape.in);
      }
    }
  }
  plan_load_memory(config, arena);
  return weights;
}

void upload(const OwnedTensor& from, OwnedTensor& to) { upload_bytes(from.data<void>(), from.bytes(), to); }

void upload(const LinearWeight& from, LinearWeight& to) {
  if (const auto* dense = std::get_if<OwnedTensor>(&from)) return upload(*dense, std::get<OwnedTensor>(to));
  const auto& host = std::get<Nf4Tensor>(from);
  auto& device = std::get<DeviceNf4>(to);
  upload_bytes(host.codes.data(), host.codes.size(), device.codes);
  upload_bytes(host.absmax.data(), host.absmax.size(), device.absmax);
  upload_bytes(host.absmax2.data(), host.absmax2.size() * sizeof(float), device.absmax2);
  upload_bytes(host.scales.data(), host.scales.size() * sizeof(float), device.scales);
  device.offset = host.offset;
}

std::uint64_t BaseChecksums::combined() const {
  std::uint64_t sum = 0;
  for (const Entry& entry : entries) sum = fold(sum, entry.sum);
  return sum;
}

BaseChecksums checksum_base(const OpContext& context, const MistralWeights& weights) {
  BaseChecksums checksums;
  for_each_frozen(weights, [&](const std::string& name, const auto& tensor) {
    checksums.entries.push_back({name, checksum_of(context, tensor)});
  });
  return checksums;
}

std::optional<std::string> find_changed_tensor(const OpContext& context, const MistralWeights& weights,
                                               const BaseChecksums& expected) {
  std::optional<std::string> changed;
  std::size_t index = 0;
  for_each_frozen(weights, [&](const std::string& name, const auto& tensor) {
    if (!changed && checksum_of(context, tensor) != expected.entries.at(index).sum) changed = name;
    ++index;
  });
  return changed;
}

}  // namespace shori
