#include "shori/model/lora_adapter.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "shori/ops/lora_grad.h"
#include "shori/util/error.h"
#include "shori/util/philox.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr std::uint32_t kInitStream = 0xffffffffu;  // last counter word; dropout masks never reach it

LoraFactor make_factor(const MistralConfig& config, const LoraSettings& settings, DType activation, std::int64_t layer,
                       Linear linear, bool is_b, DeviceMemory* memory) {
  const LinearShape shape = shape_of(config, linear);
  const std::int64_t rows = is_b ? shape.out : settings.rank;
  const std::int64_t cols = is_b ? settings.rank : shape.in;
  LoraFactor factor;
  factor.name =
      concat("base_model.model.model.layers.", layer, ".", path_of(linear), is_b ? ".lora_B.weight" : ".lora_A.weight");
  factor.layer = layer;
  factor.linear = linear;
  factor.is_b = is_b;
  DeviceArena* arena = memory == nullptr ? nullptr : &memory->device;
  factor.value = MirroredTensor::zeros(DType::kF32, rows, cols, memory);
  factor.gradient = OwnedTensor::zeros(DType::kF32, rows, cols, arena);
  factor.copy = OwnedTensor::zeros(activation, rows, cols, arena);
  factor.copy_scale = is_b ? settings.scaling() : 1.0f;
  return factor;
}

// (2u - 1) is exact in fp32: u has 24 bits. One rounding, of the product with the bound.
void fill_uniform(std::span<float> values, double bound, std::uint64_t seed, std::uint32_t tensor) {
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const PhiloxWords random = philox4x32(seed, {{static_cast<std::uint32_t>(i / 4), tensor, 0, kInitStream}});
    for (std::size_t j = i; j < std::min(i + 4, values.size()); ++j) {
      values[j] = static_cast<float>(((random.word[j - i] >> 8) * 0x1p-23 - 1.0) * bound);
    }
  }
}

}  // namespace

std::array<bool, kLinearCount> lora_targets(std::span<const std::string> names) {
  std::array<bool, kLinearCount> targets{};
  for (const std::string& name : names) {
    const std::optional<Linear> linear = find_linear(name);
    SHORI_CHECK(linear, "no linear module is called " + name);
    targets[index_of(*linear)] = true;
  }
  return targets;
}

LoraAdapter::LoraAdapter(const MistralConfig& config, const LoraSettings& settings, DType activation,
                         DeviceMemory* memory)
    : settings_(settings), activation_(activation) {
  SHORI_CHECK(settings.rank > 0, "an adapter needs a rank");
  if (memory != nullptr) memory->device.begin("adapter: fp32, gradients, 16-bit copies");
  if (memory != nullptr) memory->pinned.begin("adapter and optimizer, for checkpoints");
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Linear linear : kLinears) {
      if (!settings.has(linear)) continue;
      factors_.push_back(make_factor(config, settings, activation, layer, linear, false, memory));
      factors_.push_back(make_factor(config, settings, activation, layer, linear, true, memory));
    }
  }
}

void LoraAdapter::initialize(const OpContext& context, std::uint64_t seed) {
  for (LoraFactor& factor : factors_) {
    if (factor.is_b) {
      std::ranges::fill(factor.values(), 0.0f);
    } else {
      const auto number = 2 * (static_cast<std::size_t>(factor.layer) * kLinearCount + index_of(factor.linear));
      fill_uniform(factor.values(), 1.0 / std::sqrt(static_cast<double>(factor.value.cols())), seed,
                   static_cast<std::uint32_t>(number));
    }
  }
  upload(context);
}

void LoraAdapter::upload(const OpContext& context) {
  for (LoraFactor& factor : factors_) {
    factor.value.upload(context);
    round_lora_factor(context, factor.value.view(), factor.copy_scale, factor.copy.view());
  }
}

void LoraAdapter::download(const OpContext& context) const {
  for (const LoraFactor& factor : factors_) factor.value.download(context);
}

void LoraAdapter::zero_gradients(const OpContext& context) {
  if (context.profile != nullptr) context.profile->begin("zero_gradients");
  for (LoraFactor& factor : factors_) {
    if (context.profile != nullptr) context.profile->add_work({.bytes = static_cast<double>(factor.gradient.bytes())});
    if (context.device == Device::kCuda) {
      fill_zero_on_device(factor.gradient.data<void>(), factor.gradient.bytes(), context.stream);
    } else {
      std::ranges::fill(factor.gradients(), 0.0f);
    }
  }
}

std::vector<NamedArray> LoraAdapter::arrays() {
  std::vector<NamedArray> arrays;
  for (const LoraFactor& factor : factors_) {
    arrays.push_back(
        {factor.name, FileDType::kF32, {factor.value.rows(), factor.value.cols()}, factor.values().data()});
  }
  return arrays;
}

const LoraFactor* LoraAdapter::find(std::int64_t layer, Linear linear, bool is_b) const {
  const auto found = std::ranges::find_if(factors_, [&](const LoraFactor& factor) {
    return factor.layer == layer && factor.linear == linear && factor.is_b == is_b;
  });
  return found == factors_.end() ? nullptr : &*found;
}

std::int64_t LoraAdapter::parameter_count() const {
  std::int64_t count = 0;
  for (const LoraFactor& factor : factors_) count += factor.count();
  return count;
}

}  // namespace shori
