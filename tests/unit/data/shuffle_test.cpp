#include "src/data/packing/shuffle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shori/util/error.h"

namespace shori {
namespace {

using Order = std::vector<std::uint32_t>;

std::uint64_t weighted_sum(const Order& order) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < order.size(); ++i) sum += (i + 1) * order[i];
  return sum;
}

// All golden values: torch.randperm of torch 2.11.0, torch.Generator().manual_seed(seed).
TEST(Shuffle, EqualsTorchRandperm) {
  EXPECT_EQ(random_permutation(20, 42), (Order{2, 14, 18, 15, 1, 10, 0, 4, 6, 11, 8, 3, 7, 17, 13, 12, 19, 5, 16, 9}));
  EXPECT_EQ(random_permutation(7, 0), (Order{4, 0, 5, 3, 2, 6, 1}));
  EXPECT_EQ(random_permutation(1, 42), (Order{0}));
  EXPECT_TRUE(random_permutation(0, 42).empty());
  const Order thousand = random_permutation(1000, 43);
  EXPECT_EQ(thousand[0], 588u);
  EXPECT_EQ(thousand[39], 874u);
  EXPECT_EQ(weighted_sum(thousand), 250012249u);
}

TEST(Shuffle, UsesTheLowHalfOfTheSeedLikeTorch) {
  const Order order = random_permutation(30, (std::uint64_t{1} << 32) + 5);
  EXPECT_EQ(weighted_sum(order), 6325u);
  EXPECT_EQ(order, random_permutation(30, 5));
}

TEST(Shuffle, IsAPermutationAndDiffersBetweenEpochs) {
  Order order = random_permutation(100000, 42);
  EXPECT_NE(order, random_permutation(100000, 43));
  std::sort(order.begin(), order.end());
  for (std::uint32_t i = 0; i < order.size(); ++i) ASSERT_EQ(order[i], i);
}

TEST(Shuffle, RefusesCountsForWhichTorchDraws64Bits) { EXPECT_THROW(random_permutation(0xFFFFFFFFu / 20, 42), Error); }

}  // namespace
}  // namespace shori
