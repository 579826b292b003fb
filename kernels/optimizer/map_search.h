// nearest_in_map() by a table: it returns the same code for every value, in a few instructions.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace shori {

class MapSearch {
 public:
  // `map`: 256 ascending values that outlive this object.
  explicit MapSearch(const float* map);

  std::uint8_t nearest(float value) const {
    if (value != value) return 0;
    std::uint8_t code = lowest_[std::bit_cast<std::uint32_t>(value) >> 16];
    while (value >= first_of_next_[code]) ++code;
    return code;
  }

 private:
  std::array<std::uint8_t, 65536> lowest_;  // code of the lowest value with these upper 16 bits
  std::array<float, 256> first_of_next_;    // the lowest value whose code is code + 1
};

}  // namespace shori
