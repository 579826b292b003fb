#include "shori/quant/dynamic_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "shori/quant/blockwise8.h"
#include "tests/support/sha256_of.h"

namespace shori {
namespace {

TEST(DynamicMap, HasThePinnedBytes) {
  EXPECT_EQ(sha256_of(dynamic_map_signed(), 256), "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c");
  EXPECT_EQ(sha256_of(dynamic_map_unsigned(), 256), "305f002cc11278fb769d13b25b9fd0c7c83c8402c40a878fe086f4039fde6398");
}

TEST(DynamicMap, FollowsItsConstructionWithinTwoUlp) {
  for (const bool is_signed : {true, false}) {
    std::vector<float> values = {0.0f, 1.0f};
    for (int i = 0; i < 7; ++i) {
      const int items = is_signed ? 1 << i : 1 << (i + 1);
      for (int k = 0; k < items; ++k) {
        const double low = 0.1 + 0.9 * k / items, high = 0.1 + 0.9 * (k + 1) / items;
        const auto value = static_cast<float>(std::pow(10.0, i - 6) * (low + high) / 2);
        values.push_back(value);
        if (is_signed) values.push_back(-value);
      }
    }
    std::sort(values.begin(), values.end());
    ASSERT_EQ(values.size(), 256u);
    const float* map = is_signed ? dynamic_map_signed() : dynamic_map_unsigned();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto difference =
          std::int64_t{std::bit_cast<std::int32_t>(values[i])} - std::bit_cast<std::int32_t>(map[i]);
      EXPECT_LE(std::abs(difference), 2) << i;
    }
  }
}

// The rule in other words: nearest by comparison with the fp32 midpoint, a tie to the even index.
int brute_force(const float* map, float value) {
  if (std::isnan(value)) return 0;
  int index = 0;
  while (index < 255) {
    const float midpoint = (map[index] + map[index + 1]) * 0.5f;
    const bool next = value > midpoint || (value == midpoint && (index + 1) % 2 == 0);
    if (!next) break;
    ++index;
  }
  return index;
}

class NearestInMap : public testing::TestWithParam<bool> {
 protected:
  const float* map_ = GetParam() ? dynamic_map_signed() : dynamic_map_unsigned();
};

TEST_P(NearestInMap, IsExactAtEveryEntryMidpointAndNeighbour) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 256; ++i) {
    EXPECT_EQ(nearest_in_map(map_, map_[i]), i);
    if (i == 255) continue;
    const float midpoint = (map_[i] + map_[i + 1]) * 0.5f;
    EXPECT_EQ(nearest_in_map(map_, midpoint), i % 2 == 0 ? i : i + 1) << i;
    EXPECT_EQ(nearest_in_map(map_, std::nextafter(midpoint, -kInfinity)), i) << i;
    EXPECT_EQ(nearest_in_map(map_, std::nextafter(midpoint, kInfinity)), i + 1) << i;
  }
  EXPECT_EQ(nearest_in_map(map_, kInfinity), 255);
  EXPECT_EQ(nearest_in_map(map_, -kInfinity), 0);
  EXPECT_EQ(nearest_in_map(map_, 2.0f), 255);
  EXPECT_EQ(nearest_in_map(map_, -2.0f), 0);
  EXPECT_EQ(nearest_in_map(map_, std::numeric_limits<float>::quiet_NaN()), 0);
}

TEST_P(NearestInMap, EqualsBruteForceOnRandomValues) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> mantissa(-1.2f, 1.2f), exponent(-8.0f, 0.0f);
  for (int i = 0; i < 200000; ++i) {
    const float value = mantissa(random) * std::pow(10.0f, exponent(random));
    ASSERT_EQ(nearest_in_map(map_, value), brute_force(map_, value)) << value;
  }
}

INSTANTIATE_TEST_SUITE_P(Maps, NearestInMap, testing::Bool(),
                         [](const auto& info) { return info.param ? "Signed" : "Unsigned"; });

}  // namespace
}  // namespace shori
