#include "src/data/packing/shuffle.h"

#include <numeric>
#include <random>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

std::vector<std::uint32_t> random_permutation(std::uint64_t count, std::uint64_t seed) {
  SHORI_CHECK(count < 0xFFFFFFFFu / 20, concat("a permutation of ", count, " needs 64-bit draws"));
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::mt19937 generator(static_cast<std::uint32_t>(seed));
  for (std::uint64_t i = 0; i + 1 < count; ++i) {
    const std::uint64_t offset = static_cast<std::uint32_t>(generator()) % (count - i);
    std::swap(order[i], order[i + offset]);
  }
  return order;
}

}  // namespace shori
