// A Mistral model with a cache of keys and values, as generation uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "shori/infer/language_model.h"
#include "shori/model/kv_cache.h"
#include "shori/model/mistral.h"

namespace shori {

// Memory besides the model's weights: the cache, and the buffers of a pass of kPrefillChunk tokens.
class CachedModel : public LanguageModel {
 public:
  // Tokens of a chunk of a prompt. Chunks begin at multiples of it, so a prompt is always cut in the same way, and what
  // earlier prompts left in the cache has the bits that this one would give it.
  static constexpr std::int64_t kPrefillChunk = 128;

  // `model` outlives it; on a device, its memory holds the cache too. `context`: tokens that fit.
  CachedModel(Mistral& model, std::int64_t context);

  std::int64_t vocab_size() const override { return model_.config().vocab_size; }
  std::int64_t context_length() const override { return cache_.positions(); }
  std::span<const float> prefill(std::span<const std::int32_t> ids, const std::function<bool()>& stop) override;
  std::span<const float> append(std::int32_t id) override;
  // After weights of the model have changed: nothing that is in the cache is used again.
  void forget();

 private:
  Mistral& model_;
  KvCache cache_;
  std::vector<std::int32_t> prefilled_;  // ids whose keys and values whole chunks of prompts have computed
};

}  // namespace shori
