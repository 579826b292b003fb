// From a Hugging Face model folder to weights in memory, streamed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "shori/io/hf_model.h"
#include "shori/model/mistral_weights.h"

namespace shori {

// The form in which load_mistral() keeps the weights of `model`: a base that is NF4 in its files may need flat scales.
WeightFormat weight_format(const HfModel& model, DType activation, bool quantize);

struct LoadOptions {
  DType activation = DType::kBf16;  // kF32 under `bf16: false`
  bool quantize = true;             // linears to NF4; else dense in the activation dtype
  int threads = 1;
  DeviceArena* arena = nullptr;   // of a device that the weights go to; null: host memory
  std::string nf4_cache = "off";  // with `quantize`: where the quantized base is kept (nf4_cache.h)
  // Bytes of the tensors' data: read so far, and in total.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

// Reads every tensor once, in chunks, and hashes it on the way. Host memory beyond the result stays near a few chunks.
// Weights that go to a device are quantized there, to the same bytes. The codes and scales of a base that is NF4 in its
// files are used bit for bit (E0217 if its codes mean something else). F16 and F32 linears are quantized as stored. A
// NaN or Inf is E0210 with tensor and element, a file that changed meanwhile E0213. Throws Stopped when a stop was
// requested.
MistralWeights load_mistral(const HfModel& model, const LoadOptions& options);

}  // namespace shori
