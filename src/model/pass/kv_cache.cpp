#include "shori/model/kv_cache.h"

#include "shori/util/error.h"

namespace shori {

namespace {

std::int64_t cache_rows(const MistralConfig& config, std::int64_t positions) {
  return config.layers * 2 * config.kv_heads * positions;
}

}  // namespace

KvCache::KvCache(const MistralConfig& config, DType activation, std::int64_t positions, DeviceArena* arena)
    : memory_(OwnedTensor::make(activation, cache_rows(config, positions), config.head_dim, arena)),
      rows_(config.kv_heads * positions),
      positions_(positions) {}

std::size_t KvCache::bytes(const MistralConfig& config, DType activation, std::int64_t positions) {
  return static_cast<std::size_t>(cache_rows(config, positions) * config.head_dim) * size_of(activation);
}

CachedKeys KvCache::layer(std::int64_t layer) const {
  const TensorView part = memory_.view().slice_rows(layer * 2 * rows_, 2 * rows_);
  return {part.slice_rows(0, rows_), part.slice_rows(rows_, rows_), positions_};
}

void KvCache::set_length(std::int64_t length) {
  SHORI_CHECK(length >= 0 && length <= positions_, "a cache holds no more tokens than it has positions");
  length_ = length;
}

}  // namespace shori
