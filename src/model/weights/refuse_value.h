// What a base with NaN or Inf ends in.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "shori/io/hf_model.h"

namespace shori {

// E0210: `value` is at `element` of the tensor.
[[noreturn]] void refuse_value(const HfTensor& tensor, std::int64_t element, float value);
// Index of the first value that is not finite.
std::optional<std::int64_t> first_non_finite(std::span<const float> values);
// E0210 for the first of `values` that is not finite; they begin at element `first`.
void refuse_non_finite(const HfTensor& tensor, std::int64_t first, std::span<const float> values);

}  // namespace shori
