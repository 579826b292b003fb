// What reading and writing of the NF4 cache share: the arrays of the weights, and the manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/io/safetensors.h"
#include "shori/model/mistral_weights.h"
#include "shori/util/json.h"

namespace shori {

inline constexpr std::string_view kNf4CacheMagic = "SHORINF4";

struct FrozenArray {
  SafetensorsPlan plan;  // name, dtype and shape in the file
  std::byte* data = nullptr;
  bool on_device = false;
};

// The arrays of all frozen tensors with their memory, then the offsets, which are host memory.
struct FrozenArrays {
  explicit FrozenArrays(MistralWeights& weights);
  std::vector<FrozenArray> arrays;
  std::vector<float> offsets;      // in the order of the modules
  std::vector<float*> offsets_of;  // where they belong
};

// Members of the manifest that must be the same for the file to fit. Canonical JSON.
CanonicalJson cache_key(const HfModel& model, DType activation);

}  // namespace shori
