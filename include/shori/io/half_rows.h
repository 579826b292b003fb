// Many values to binary16 at once.
#pragma once

#include <cstdint>
#include <span>

namespace shori {

// float_to_half() of all values.
void to_halves(std::span<const float> values, std::uint16_t* out);

}  // namespace shori
