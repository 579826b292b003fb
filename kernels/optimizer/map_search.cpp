#include "kernels/optimizer/map_search.h"

#include <cmath>
#include <limits>

#include "shori/quant/blockwise8.h"

namespace shori {

MapSearch::MapSearch(const float* map) {
  for (std::uint32_t upper = 0; upper < lowest_.size(); ++upper) {
    // Among negative values the one with all lower bits set is the lowest.
    const std::uint32_t bits = upper << 16 | (upper >= 0x8000 ? 0xffffu : 0u);
    lowest_[upper] = nearest_in_map(map, std::bit_cast<float>(bits));
  }
  for (std::size_t code = 0; code + 1 < first_of_next_.size(); ++code) {
    // A value equal to the midpoint goes to the even code.
    const float midpoint = (map[code] + map[code + 1]) * 0.5f;
    first_of_next_[code] = code % 2 == 1 ? midpoint : std::nextafter(midpoint, std::numeric_limits<float>::infinity());
  }
  first_of_next_.back() = std::numeric_limits<float>::quiet_NaN();  // no value is at least NaN
}

}  // namespace shori
