#include "src/model/weights/host_loader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "src/model/weights/refuse_value.h"

namespace shori {

HostLoader::HostLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options, TensorStream& chunks)
    : weights_(weights), chunks_(chunks), threads_(options.threads), parts_(model) {}

void HostLoader::load(const HfTensor& tensor, const WeightSlot& slot, const TensorChunk& chunk) {
  if (tensor.role != TensorRole::kValues) {
    adopt(tensor, chunk, *slot.nf4);
  } else if (slot.nf4 != nullptr) {
    quantize(tensor, chunk, *slot.nf4);
  } else {
    copy(tensor, chunk, *slot.dense);
  }
  chunks_.release(chunk);
}

// A part of a linear that is NF4 in the files.
void HostLoader::adopt(const HfTensor& part, const TensorChunk& chunk, Nf4Weight& weight) {
  if (part.role == TensorRole::kCodes) {
    std::memcpy(weight.codes.data<std::byte>() + chunk.offset, chunk.data, chunk.bytes);
  } else if (std::optional<Nf4Weight> scales = parts_.add(part, chunk)) {
    weight.absmax = std::move(scales->absmax);
    weight.absmax2 = std::move(scales->absmax2);
    weight.scales = std::move(scales->scales);
    weight.offset = scales->offset;
  }
}

void HostLoader::quantize(const HfTensor& tensor, const TensorChunk& chunk, Nf4Weight& weight) {
  widen(tensor, chunk);
  const auto quantizer = quantizers_.try_emplace(chunk.tensor, weight.view(), threads_).first;
  if (const auto bad = quantizer->second.add(values_)) {
    refuse_value(tensor, *bad, values_[static_cast<std::size_t>(*bad) - chunk.offset / dtype_size(tensor.dtype)]);
  }
  if (!chunk.is_last) return;
  const Nf4Findings findings = quantizer->second.finish();
  quantizers_.erase(quantizer);
  weight.offset = findings.offset;
  weights_.zero_blocks += findings.zero_blocks;
}

void HostLoader::copy(const HfTensor& tensor, const TensorChunk& chunk, OwnedTensor& weight) {
  widen(tensor, chunk);
  const auto first = static_cast<std::int64_t>(chunk.offset / dtype_size(tensor.dtype));
  refuse_non_finite(tensor, first, values_);
  if (weight.dtype() == DType::kBf16 && tensor.dtype == FileDType::kBf16) {
    std::memcpy(weight.data<Bf16>() + first, chunk.data, chunk.bytes);
  } else if (weight.dtype() == DType::kF32) {
    std::ranges::copy(values_, weight.data<float>() + first);
  } else {
    std::ranges::transform(values_, weight.data<Bf16>() + first, to_bf16);
  }
}

void HostLoader::widen(const HfTensor& tensor, const TensorChunk& chunk) {
  values_.resize(chunk.bytes / dtype_size(tensor.dtype));
  widen_values(tensor.dtype, chunk.data, values_.size(), values_.data());
}

}  // namespace shori
