// Weights to a device: chunks are copied as the file has them and quantized there, while the next ones are read.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "shori/model/load_mistral.h"
#include "shori/ops/nf4_quantize.h"
#include "src/model/weights/chunk_stream.h"
#include "src/model/weights/frozen_tensors.h"
#include "src/model/weights/quantized_parts.h"

namespace shori {

// Device memory beside the weights. One staging buffer is enough: the next copy to it waits, in the stream, for the
// kernel that reads it.
struct LoadMemory {
  std::byte* staging = nullptr;      // one chunk
  std::vector<float*> block_absmax;  // one per tensor that has begun: at most one per reader and one per buffer
  Nf4Findings* findings = nullptr;   // [layers * kLinearCount]
  std::byte* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

class DeviceLoader {
 public:
  // `model`, `weights` and `chunks` outlive the loader. The weights have their memory.
  DeviceLoader(const HfModel& model, MistralWeights& weights, const LoadOptions& options, TensorStream& chunks);
  ~DeviceLoader();
  DeviceLoader(const DeviceLoader&) = delete;
  DeviceLoader& operator=(const DeviceLoader&) = delete;

  // The next chunk of a tensor; it goes back to the stream when it has been copied.
  void load(const HfTensor& tensor, const WeightSlot& slot, const TensorChunk& chunk);
  // After the last chunk: every weight is complete. E0210 if one holds NaN or Inf.
  void finish();

 private:
  struct Quantized {
    const HfTensor* tensor;
    Nf4Weight* weight;
  };

  OpContext context() { return {.device = Device::kCuda, .stream = stream_.handle(), .workspace = &workspace_}; }
  void adopt(const HfTensor& part, const TensorChunk& chunk, Nf4Weight& weight);
  void copy_array(const OwnedTensor& from, OwnedTensor& to);
  void quantize(const HfTensor& tensor, const TensorChunk& chunk, Nf4Weight& weight);
  void copy(const HfTensor& tensor, const TensorChunk& chunk, OwnedTensor& weight);
  float* block_absmax_of(std::size_t tensor);
  void refuse_block(const HfTensor& tensor, std::int64_t block) const;

  const HfModel& model_;
  MistralWeights& weights_;
  QuantizedParts parts_;
  DeviceArena& arena_;
  DeviceArena::Mark begin_;
  LoadMemory memory_;
  Workspace workspace_;
  DeviceStream stream_;
  ChunksInFlight in_flight_;
  std::vector<float*> free_absmax_;
  std::map<std::size_t, float*> block_absmax_;  // of the tensors that have begun
  std::vector<Quantized> quantized_;            // in the order of the findings
  std::vector<float> values_;                   // of a dense chunk
};

// Takes from the arena, and gives back, the memory that a DeviceLoader takes beside the weights: so a plan knows it.
void plan_load_memory(const MistralConfig& config, DeviceArena& arena);

}  // namespace shori
