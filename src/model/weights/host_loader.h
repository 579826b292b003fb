// Weights to host memory.
#pragma once

#include <map>

#include "shori/io/tensor_stream.h"
#include "shori/model/load_mistral.h"
#include "src/model/weights/frozen_tensors.h"
#include "src/model/weights/quantized_parts.h"

namespace shori {

class HostLoader {
 public:
  // `model`, `weights` and `chunks` outlive the loader. The weights have their memory.
  HostLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options, TensorStream& chunks);

  // The next chunk of a tensor; it goes back to the stream.
  void load(const HfTensor& tensor, const WeightSlot& slot, const TensorChunk& chunk);
  void finish() {}

 private:
  void adopt(const HfTensor& part, const TensorChunk& chunk, Nf4Weight& weight);
  void quantize(const HfTensor& tensor, const TensorChunk& chunk, Nf4Weight& weight);
  void copy(const HfTensor& tensor, const TensorChunk& chunk, OwnedTensor& weight);
  [[noreturn]] static void refuse(const HfTensor& tensor, const TensorChunk& chunk, std::int64_t element);

  MistralWeights& weights_;
  TensorStream& chunks_;
  int threads_;
  QuantizedParts parts_;
  std::map<std::size_t, Nf4Quantizer> quantizers_;  // of the tensors that have begun
};

}  // namespace shori
