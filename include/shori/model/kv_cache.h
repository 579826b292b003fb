// Keys and values of the tokens that a model has read, so that each new token reads them and computes only its own.
#pragma once

#include <cstdint>

#include "shori/io/mistral_config.h"
#include "shori/model/owned_tensor.h"
#include "shori/ops/cached_attention.h"

namespace shori {

// One allocation for all layers, in the activation dtype: 2 * layers * Hkv * D elements for each position. A sliding window
// does not make it smaller.
class KvCache {
 public:
  // Memory for `positions` tokens. `arena`: of a device; null: the heap.
  KvCache(const MistralConfig& config, DType activation, std::int64_t positions, DeviceArena* arena = nullptr);

  CachedKeys layer(std::int64_t layer) const;
  std::int64_t positions() const { return positions_; }
  std::int64_t length() const { return length_; }  // tokens read so far
  // Forgets the tokens from `length` on, or counts those that a pass has added.
  void set_length(std::int64_t length);

 private:
  OwnedTensor memory_;  // [layers * 2 * Hkv * positions, D]: keys and then values of each layer
  std::int64_t rows_;   // of the keys of one layer
  std::int64_t positions_;
  std::int64_t length_ = 0;
};

}  // namespace shori
