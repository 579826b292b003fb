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

// The arrays of all frozen tensors with their memory, then the offsets of the linears, which are in host memory.
class FrozenArrays {
 public:
  explicit FrozenArrays(MistralWeights& weights);
  FrozenArrays(const FrozenArrays&) = delete;
  FrozenArrays& operator=(const FrozenArrays&) = delete;

  const std::vector<NamedArray>& arrays() const { return arrays_; }
  bool is_offsets(std::size_t index) const { return index + 1 == arrays_.size(); }
  // From the array that was read to the weights.
  void store_offsets() const;

 private:
  std::vector<NamedArray> arrays_;
  std::vector<float> offsets_;      // in the order of the modules
  std::vector<float*> offsets_of_;  // where they belong
};

// The manifest without the arrays' digests. `weights` are those of `model`.
Json cache_manifest(const HfModel& model, const MistralWeights& weights);

}  // namespace shori
