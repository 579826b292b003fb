// Many values of 16 bits at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "shori/io/safetensors.h"

namespace shori {

// `count` values of BF16, F16 or F32 as fp32 (exact).
void widen_values(FileDType dtype, const void* values, std::size_t count, float* out);

// float_to_half() of all values.
void to_halves(std::span<const float> values, std::uint16_t* out);
// half_to_float() of all of them.
void from_halves(std::span<const std::uint16_t> halves, float* out);

}  // namespace shori
