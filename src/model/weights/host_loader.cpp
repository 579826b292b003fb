#include "src/model/weights/host_loader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "shori/io/half_rows.h"
#include "shori/util/threads.h"
#include "src/model/weights/refuse_value.h"

namespace shori {
namespace {

constexpr std::int64_t kValuesPerThread = std::int64_t{1}
                                          << 18;  // with less, starting a thread costs more than it saves

}  // namespace

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
  const std::uint64_t size = dtype_size(tensor.dtype);
  const auto quantizer = quantizers_.try_emplace(chunk.tensor, weight.view(), threads_).first;
  if (const auto bad = quantizer->second.add(tensor.dtype, chunk.data, static_cast<std::int64_t>(chunk.bytes / size))) {
    refuse(tensor, chunk, *bad);
  }
  if (!chunk.is_last) return;
  const Nf4Findings findings = quantizer->second.finish();
  quantizers_.erase(quantizer);
  weight.offset = findings.offset;
  weights_.zero_blocks += findings.zero_blocks;
}

void HostLoader::copy(const HfTensor& tensor, const TensorChunk& chunk, OwnedTensor& weight) {
  const auto size = static_cast<std::int64_t>(dtype_size(tensor.dtype));
  const std::int64_t begin = static_cast<std::int64_t>(chunk.offset) / size,
                     count = static_cast<std::int64_t>(chunk.bytes) / size;
  std::atomic<std::int64_t> first_bad{count};
  for_each_part(
      count, std::min<std::int64_t>(count / kValuesPerThread, threads_), [&](std::int64_t first, std::int64_t last) {
        alignas(64) std::array<float, 2048> wide;
        for (std::int64_t at = first; at < last; at += std::ssize(wide)) {
          const std::span<float> values =
              std::span(wide).first(static_cast<std::size_t>(std::min(std::ssize(wide), last - at)));
          widen_values(tensor.dtype, chunk.data + at * size, values.size(), values.data());
          if (const auto bad = first_non_finite(values)) return lower_to(first_bad, at + *bad);
          if (weight.dtype() == DType::kF32) {
            std::ranges::copy(values, weight.data<float>() + begin + at);
          } else if (tensor.dtype == FileDType::kBf16) {
            std::memcpy(weight.data<Bf16>() + begin + at, chunk.data + at * size, values.size() * sizeof(Bf16));
          } else {
            std::ranges::transform(values, weight.data<Bf16>() + begin + at, to_bf16);
          }
        }
      });
  if (first_bad < count) refuse(tensor, chunk, begin + first_bad);
}

// `element` of the tensor, which lies in the chunk, is not finite.
void HostLoader::refuse(const HfTensor& tensor, const TensorChunk& chunk, std::int64_t element) {
  const std::uint64_t at = static_cast<std::uint64_t>(element) * dtype_size(tensor.dtype) - chunk.offset;
  float value;
  widen_values(tensor.dtype, chunk.data + at, 1, &value);
  refuse_value(tensor, element, value);
}

}  // namespace shori
