#include "shori/infer/cached_model.h"

#include <algorithm>

#include "shori/util/error.h"

namespace shori {

namespace {

// The whole chunks of `ids` that are in `prefilled` as well, without the chunk of the last id, whose logits are wanted.
std::int64_t reusable(std::span<const std::int32_t> ids, std::span<const std::int32_t> prefilled) {
  constexpr std::int64_t kChunk = CachedModel::kPrefillChunk;
  const std::int64_t common = std::ranges::mismatch(ids, prefilled).in1 - ids.begin();
  return std::min(common, std::ssize(ids) - 1) / kChunk * kChunk;
}

}  // namespace

CachedModel::CachedModel(Mistral& model, std::int64_t context) : model_(model), cache_(model.make_cache(context)) {
  model.reserve(std::min(kPrefillChunk, context), context, false);
}

std::span<const float> CachedModel::prefill(std::span<const std::int32_t> ids, const std::function<bool()>& stop) {
  SHORI_CHECK(!ids.empty(), "a prompt has at least one token");
  const std::int64_t size = std::ssize(ids), first = reusable(ids, prefilled_);
  prefilled_.resize(static_cast<std::size_t>(first));
  cache_.set_length(first);
  std::span<const float> logits;
  for (std::int64_t done = first; done < size; done = cache_.length()) {
    const auto chunk =
        ids.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(std::min(kPrefillChunk, size - done)));
    logits = model_.extend(chunk, cache_, stop);
    if (logits.empty()) return {};
    if (std::ssize(chunk) == kPrefillChunk) prefilled_.insert(prefilled_.end(), chunk.begin(), chunk.end());
  }
  return logits;
}

void CachedModel::forget() {
  prefilled_.clear();
  cache_.set_length(0);
}

std::span<const float> CachedModel::append(std::int32_t id) { return model_.extend({&id, 1}, cache_); }

}  // namespace shori
