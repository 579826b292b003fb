#include "shori/optim/adamw8bit.h"

#include <algorithm>
#include <iterator>

namespace shori {

namespace {

template <typename T>
OptimizerSpan make_span(const std::string& kind, const LoraFactor& factor, std::vector<T>& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  const bool is_block_scale = kind.ends_with("absmax.");
  return {kind + factor.name, sizeof(T) == sizeof(float),
          is_block_scale ? std::vector{count} : std::vector{factor.value.rows(), factor.value.cols()}, values.data(),
          values.size() * sizeof(T)};
}

// Null where the vector is not used, as the op wants it.
template <typename T>
T* pointer(std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace

AdamW8bit::AdamW8bit(LoraAdapter& adapter, const AdamOptions& options) : adapter_(adapter), options_(options) {
  moments_.resize(adapter.factors().size());
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const auto count = static_cast<std::size_t>(adapter.factors()[i].count());
    Moments& moments = moments_[i];
    if (count < kMin8BitElements) {
      moments.m.resize(count);
      moments.v.resize(count);
    } else {
      const auto block = static_cast<std::size_t>(options.block_size);
      moments.m_codes.resize(count);
      moments.v_codes.resize(count);
      moments.m_absmax.resize((count + block - 1) / block);
      moments.v_absmax.resize((count + block - 1) / block);
    }
  }
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
                       .m_codes = pointer(moments.m_codes),
                       .v_codes = pointer(moments.v_codes),
                       .m_absmax = pointer(moments.m_absmax),
                       .v_absmax = pointer(moments.v_absmax),
                       .m = pointer(moments.m),
                       .v = pointer(moments.v),
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

std::vector<OptimizerSpan> AdamW8bit::spans() {
  std::vector<OptimizerSpan> floats, codes;
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    const LoraFactor& factor = adapter_.factors()[i];
    Moments& moments = moments_[i];
    if (moments.m_codes.empty()) {
      floats.push_back(make_span("adam.m32.", factor, moments.m));
      floats.push_back(make_span("adam.v32.", factor, moments.v));
    } else {
      floats.push_back(make_span("adam.m_absmax.", factor, moments.m_absmax));
      floats.push_back(make_span("adam.v_absmax.", factor, moments.v_absmax));
      codes.push_back(make_span("adam.m.", factor, moments.m_codes));
      codes.push_back(make_span("adam.v.", factor, moments.v_codes));
    }
  }
  std::ranges::move(codes, std::back_inserter(floats));
  return floats;
}

}  // namespace shori
