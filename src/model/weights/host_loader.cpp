// Weights to host memory.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "src/model/weights/quantized_parts.h"
#include "src/model/weights/weight_loader.h"

namespace shori {
namespace {

class HostLoader : public WeightLoader {
 public:
  HostLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options)
      : weights_(weights), options_(options), parts_(model, weights.config.plain_scales) {}

  void take(const HfTensor& tensor, Place place, const TensorPiece& piece, TensorStream& pieces) override {
    if (tensor.role != TensorRole::kValues) {
      adopt(tensor, piece, *std::get<LinearWeight*>(place));
      pieces.give_back(piece);
      return;
    }
    const std::uint64_t size = dtype_size(tensor.dtype);
    values_.resize(piece.bytes / size);
    widen_values(tensor.dtype, piece.data, values_.size(), values_.data());
    const auto first = static_cast<std::int64_t>(piece.offset / size);
    if (LinearWeight** linear = std::get_if<LinearWeight*>(&place); linear != nullptr && options_.quantize) {
      quantize(tensor, piece, **linear);
    } else {
      copy(tensor, first, linear != nullptr ? dense_of(**linear) : *std::get<OwnedTensor*>(place));
    }
    pieces.give_back(piece);
  }

  void finish(TensorStream&) override {}

 private:
  static OwnedTensor& dense_of(LinearWeight& linear) {
    if (!std::holds_alternative<OwnedTensor>(linear)) linear = OwnedTensor();
    return std::get<OwnedTensor>(linear);
  }

  // A part of a linear that is NF4 in the files.
  void adopt(const HfTensor& part, const TensorPiece& piece, LinearWeight& linear) {
    Nf4Tensor& nf4 = std::get<Nf4Tensor>(linear);
    if (part.role == TensorRole::kCodes) {
      nf4.rows = part.rows();
      nf4.cols = part.cols();
      nf4.codes.resize(part.entry.bytes());
      std::memcpy(nf4.codes.data() + piece.offset, piece.data, piece.bytes);
    } else if (std::optional<Nf4Scales> scales = parts_.take(part, piece)) {
      nf4.absmax = std::move(scales->absmax);
      nf4.absmax2 = std::move(scales->absmax2);
      nf4.offset = scales->offset;
      nf4.scales = std::move(scales->scales);
    }
  }

  void quantize(const HfTensor& tensor, const TensorPiece& piece, LinearWeight& linear) {
    const auto quantizer = quantizers_.try_emplace(piece.tensor, tensor.rows(), tensor.cols(), options_.threads).first;
    if (const auto bad = quantizer->second.add(values_)) {
      refuse_value(tensor, *bad, values_[static_cast<std::size_t>(*bad) - piece.offset / dtype_size(tensor.dtype)]);
    }
    if (!piece.is_last) return;
    Nf4Tensor quantized = quantizer->second.finish();
    quantizers_.erase(quantizer);
    weights_.zero_blocks += quantized.zero_blocks;
    linear = std::move(quantized);
  }

  void copy(const HfTensor& tensor, std::int64_t first, OwnedTensor& to) const {
    if (!to) to = OwnedTensor::make(options_.activation, tensor.rows(), tensor.cols());
    const auto bad = std::ranges::find_if(values_, [](float value) { return !std::isfinite(value); });
    if (bad != values_.end()) refuse_value(tensor, first + (bad - values_.begin()), *bad);
    if (options_.activation == DType::kF32) {
      std::ranges::copy(values_, to.data<float>() + first);
    } else {
      std::ranges::transform(values_, to.data<Bf16>() + first, to_bf16);
    }
  }

  MistralWeights& weights_;
  const LoadOptions& options_;
  QuantizedParts parts_;
  std::vector<float> values_;                       // of the piece
  std::map<std::size_t, Nf4Quantizer> quantizers_;  // of the tensors that have begun
};

}  // namespace

std::unique_ptr<WeightLoader> make_host_loader(const HfModel& model, MistralWeights& weights,
                                               const LoadOptions& options) {
  return std::make_unique<HostLoader>(model, weights, options);
}

}  // namespace shori
