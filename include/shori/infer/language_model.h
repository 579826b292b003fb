// What generation needs of a model: the logits of the next token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace shori {

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  virtual std::int64_t vocab_size() const = 0;
  // Tokens of prompt and reply together that fit. The caller keeps to it; more is an internal error.
  virtual std::int64_t context_length() const = 0;

  // Makes `ids` the whole context and returns the logits [vocab] after its last id. What earlier calls computed for the
  // same first ids is used again where that gives the same bits: the result is a function of `ids` alone. `stop` is
  // asked between chunks and layers; if it returns true, the result is empty and the context is what was computed.
  virtual std::span<const float> prefill(std::span<const std::int32_t> ids, const std::function<bool()>& stop) = 0;
  // Appends one id to the context; logits [vocab] after it. Valid until the next call.
  virtual std::span<const float> append(std::int32_t id) = 0;
};

}  // namespace shori
