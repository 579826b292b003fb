#include "shori/model/kv_cache.h"

#include "shori/util/error.h"

namespace shori {

KvCache::KvCache(const MistralConfig& config, DType activation, std::int64_t positions, DeviceArena* arena)
    : memory_(OwnedTensor::make(activation, config.layers * 2 * config.kv_heads * positions, config.head_dim, arena)),
      rows_(config.kv_heads * positions),
      positions_(positions) {}

CachedKeys KvCache::layer(std::int64_t layer) const {
  const TensorView part = memory_.view().slice_rows(layer * 2 * rows_, 2 * rows_);
  return {part.slice_rows(0, rows_), part.slice_rows(rows_, rows_), positions_};
}

void KvCache::set_length(std::int64_t length) {
  SHORI_CHECK(length >= 0 && length <= positions_, "a cache holds no more tokens than it has positions");
  length_ = length;
}

}  // namespace shori
