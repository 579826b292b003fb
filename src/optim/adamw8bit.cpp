#include "shori/optim/adamw8bit.h"

#include <algorithm>
#include <iterator>

#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {

namespace {

NamedArray moment(const char* kind, const LoraFactor& factor, const MirroredTensor& values) {
  return {concat(kind, factor.name),
          values.dtype() == DType::kF32 ? FileDType::kF32 : FileDType::kU8,
          {factor.value.rows(), factor.value.cols()},
          values.host().data<void>()};
}

NamedArray block_absmax(const char* kind, const LoraFactor& factor, const MirroredTensor& values) {
  return {concat(kind, factor.name), FileDType::kF32, {values.count()}, values.host().data<void>()};
}

}  // namespace

AdamW8bit::AdamW8bit(LoraAdapter& adapter, const AdamOptions& options, DeviceMemory* memory)
    : adapter_(adapter), options_(options) {
  if (memory != nullptr) memory->device.begin("optimizer, 8-bit moments");
  moments_.resize(adapter.factors().size());
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const std::int64_t count = adapter.factors()[i].count();
    const std::int64_t blocks = ceil_div(count, options.block_size);
    const auto make = [&](MirroredTensor& tensor, DType dtype, std::int64_t elements) {
      tensor = MirroredTensor::zeros(dtype, 1, elements, memory);
    };
    Moments& moments = moments_[i];
    if (count < kMin8BitElements) {
      make(moments.m, DType::kF32, count);
      make(moments.v, DType::kF32, count);
    } else {
      make(moments.m_codes, DType::kU8, count);
      make(moments.v_codes, DType::kU8, count);
      make(moments.m_absmax, DType::kF32, blocks);
      make(moments.v_absmax, DType::kF32, blocks);
    }
  }
  // The zeros are queued on the default stream, updates on another.
  if (memory != nullptr && !memory->is_planning()) synchronize_stream(nullptr);
}

AdamReport AdamW8bit::step(const OpContext& context, double learning_rate, double gradient_scale) {
  ++step_;
  std::vector<AdamTensor> tensors;
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    LoraFactor& factor = adapter_.factors()[i];
    Moments& moments = moments_[i];
    tensors.push_back({.parameter = factor.value.data<float>(),
                       .gradient = factor.gradient.data<float>(),
                       .count = factor.count(),
                       .step = step_,
                       .m_codes = moments.m_codes.data<std::uint8_t>(),
                       .v_codes = moments.v_codes.data<std::uint8_t>(),
                       .m_absmax = moments.m_absmax.data<float>(),
                       .v_absmax = moments.v_absmax.data<float>(),
                       .m = moments.m.data<float>(),
                       .v = moments.v.data<float>(),
                       .rounded_copy = factor.copy.data<void>(),
                       .copy_dtype = factor.copy.dtype(),
                       .copy_scale = factor.copy_scale});
  }
  const AdamSettings settings{.learning_rate = static_cast<float>(learning_rate),
                              .beta1 = static_cast<float>(options_.beta1),
                              .beta2 = static_cast<float>(options_.beta2),
                              .eps = static_cast<float>(options_.eps),
                              .weight_decay = static_cast<float>(options_.weight_decay),
                              .block_size = options_.block_size,
                              .zero_gradient_guard = options_.zero_gradient_guard,
                              .gradient_scale = static_cast<float>(gradient_scale)};
  return adamw8bit(context, settings, tensors);
}

std::vector<NamedArray> AdamW8bit::arrays() {
  std::vector<NamedArray> floats, codes;
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const LoraFactor& factor = adapter_.factors()[i];
    Moments& moments = moments_[i];
    if (!moments.m_codes) {
      floats.push_back(moment("adam.m32.", factor, moments.m));
      floats.push_back(moment("adam.v32.", factor, moments.v));
    } else {
      floats.push_back(block_absmax("adam.m_absmax.", factor, moments.m_absmax));
      floats.push_back(block_absmax("adam.v_absmax.", factor, moments.v_absmax));
      codes.push_back(moment("adam.m.", factor, moments.m_codes));
      codes.push_back(moment("adam.v.", factor, moments.v_codes));
    }
  }
  std::ranges::move(codes, std::back_inserter(floats));
  return floats;
}

void AdamW8bit::download(const OpContext& context) const {
  for (const Moments& moments : moments_) {
    for (const MirroredTensor* tensor : moments.all()) tensor->download(context);
  }
}

void AdamW8bit::upload(const OpContext& context) const {
  for (const Moments& moments : moments_) {
    for (const MirroredTensor* tensor : moments.all()) tensor->upload(context);
  }
}

}  // namespace shori
