// What reading and writing of the NF4 cache share: the arrays of the weights, and the manifest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "shori/io/hf_model.h"
#include "shori/io/sealed_file.h"
#include "shori/model/mistral_weights.h"
#include "shori/util/json_text.h"
#include "src/model/weights/nf4_cache.h"

namespace shori {

inline constexpr SealedFormat kNf4CacheFormat{.magic = "SHORINF4", .label = "nf4-1", .version = kNf4CacheVersion};

// The arrays of all frozen tensors with their memory, then the offsets, which are host memory.
struct FrozenArrays {
  explicit FrozenArrays(MistralWeights& weights);
  bool is_on_device(std::size_t index) const { return weights_on_device && index + 1 < arrays.size(); }

  std::vector<NamedArray> arrays;
  std::vector<float> offsets;      // in the order of the modules
  std::vector<float*> offsets_of;  // where they belong
  bool weights_on_device = false;
};

// The manifest without the arrays' digests. `weights` are those of `model`.
Json cache_manifest(const HfModel& model, const MistralWeights& weights);

}  // namespace shori
