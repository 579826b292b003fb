#include "shori/data/packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "shori/util/error.h"
#include "src/data/packing/shuffle.h"

namespace shori {
namespace {

using Lengths = std::vector<std::int64_t>;
using Rows = std::vector<Row>;

std::vector<std::uint32_t> natural_order(std::size_t count) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  return order;
}

Rows pack_in_order(const Lengths& lengths, std::int64_t capacity, PackMode mode) {
  return pack_rows(lengths, natural_order(lengths.size()), capacity, mode);
}

const Lengths kExample = {9000, 7000, 384, 384, 16000, 385, 12000, 4000, 400};

// Golden values from Axolotl's `allocate` (commit 86b7d22f3, numba).
TEST(Packer, NextFitEqualsAxolotl) {
  EXPECT_EQ(pack_in_order(kExample, 16384, PackMode::kNextFit), (Rows{{0, 1, 2}, {4, 3}, {6, 5}, {7, 8}}));
  EXPECT_EQ(pack_in_order({100, 200, 100, 50}, 16384, PackMode::kNextFit), (Rows{{1, 2, 0, 3}}));
}

TEST(Packer, NextFitFollowsTheGivenOrder) {
  const std::vector<std::uint32_t> order = {2, 0, 1};
  EXPECT_EQ(pack_rows(Lengths{6, 5, 5}, order, 10, PackMode::kNextFit), (Rows{{2}, {0}, {1}}));
  EXPECT_EQ(pack_rows(Lengths{5, 6, 5}, order, 10, PackMode::kNextFit), (Rows{{0, 2}, {1}}));
}

// By hand: 16000 opens row a (384 left), 12000 b (4384), 9000 c (7384), 7000 -> c (384), 4000 -> b (384), 400 d
// (15984), 385 -> d (15599), 384 (position 2) -> a, the first of three rows with 384 left, 384 (position 3) -> b.
TEST(Packer, BestFitTakesTheFullestRowThatFits) {
  EXPECT_EQ(pack_in_order(kExample, 16384, PackMode::kBestFit), (Rows{{0, 1}, {2, 4}, {3, 6, 7}, {5, 8}}));
}

TEST(Packer, BestFitBreaksTiesByPositionAndOrdersRowsByTheirLongestSample) {
  // 8 (pos 1) opens a, 8 (pos 3) opens b, 5 (pos 0) opens c, 2s at positions 2 and 4 go to a, then b.
  EXPECT_EQ(pack_in_order({5, 8, 2, 8, 2}, 10, PackMode::kBestFit), (Rows{{0}, {1, 2}, {3, 4}}));
  // The same samples named by another order: positions decide, not sample numbers.
  const std::vector<std::uint32_t> order = {3, 1, 4, 2, 0};
  EXPECT_EQ(pack_rows(Lengths{5, 8, 2, 8, 2}, order, 10, PackMode::kBestFit), (Rows{{3, 4}, {1, 2}, {0}}));
}

TEST(Packer, WithoutPackingEverySampleIsARow) {
  const std::vector<std::uint32_t> order = {2, 0, 1};
  EXPECT_EQ(pack_rows(Lengths{1, 2, 3}, order, 10, PackMode::kSingle), (Rows{{2}, {0}, {1}}));
}

TEST(Packer, ASampleOfExactlyTheCapacityFitsAndOneMoreIsABug) {
  EXPECT_EQ(pack_in_order({10}, 10, PackMode::kBestFit), (Rows{{0}}));
  EXPECT_THROW(pack_in_order({11}, 10, PackMode::kBestFit), Error);
  EXPECT_THROW(pack_in_order({0}, 10, PackMode::kNextFit), Error);
}

Lengths random_lengths(std::size_t count, std::int64_t capacity, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::lognormal_distribution<double> shape(std::log(static_cast<double>(capacity) / 8), 1.0);
  Lengths lengths(count);
  for (std::int64_t& length : lengths)
    length = std::clamp<std::int64_t>(static_cast<std::int64_t>(shape(generator)), 1, capacity);
  return lengths;
}

void expect_sound(const Rows& rows, const Lengths& lengths, std::int64_t capacity) {
  std::vector<int> seen(lengths.size());
  for (const Row& row : rows) {
    ASSERT_FALSE(row.empty());
    std::int64_t tokens = 0;
    for (const std::uint32_t sample : row) {
      ++seen[sample];
      tokens += lengths[sample];
    }
    EXPECT_LE(tokens, capacity);
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(lengths.size()));
}

TEST(Packer, EverySampleIsInOneRowAndNoRowIsTooLong) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::int64_t capacity = 50 + 40 * seed;
    const Lengths lengths = random_lengths(1 + 37 * seed, capacity, seed);
    const auto order = random_permutation(lengths.size(), seed);
    const Rows best = pack_rows(lengths, order, capacity, PackMode::kBestFit);
    const Rows next = pack_rows(lengths, order, capacity, PackMode::kNextFit);
    expect_sound(best, lengths, capacity);
    expect_sound(next, lengths, capacity);
    EXPECT_LE(best.size(), next.size()) << "seed " << seed;
    EXPECT_EQ(best, pack_rows(lengths, order, capacity, PackMode::kBestFit));
  }
}

// An independent, quadratic best-fit: for each sample look at every row.
TEST(Packer, BestFitEqualsAPlainSearch) {
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    const Lengths lengths = random_lengths(200, 300, 1000 + seed);
    const auto order = random_permutation(lengths.size(), seed);
    std::vector<std::uint32_t> by_length = natural_order(lengths.size());
    std::stable_sort(by_length.begin(), by_length.end(),
                     [&](auto a, auto b) { return lengths[order[a]] > lengths[order[b]]; });
    std::vector<std::vector<std::uint32_t>> rows;
    std::vector<std::int64_t> used;
    for (const std::uint32_t position : by_length) {
      const std::int64_t length = lengths[order[position]];
      std::size_t best = rows.size();
      for (std::size_t row = 0; row < rows.size(); ++row) {
        if (used[row] + length <= 300 && (best == rows.size() || used[row] > used[best])) best = row;
      }
      if (best == rows.size()) rows.push_back({}), used.push_back(0);
      rows[best].push_back(position);
      used[best] += length;
    }
    std::sort(rows.begin(), rows.end());
    for (auto& row : rows) {
      std::sort(row.begin(), row.end());
      for (auto& entry : row) entry = order[entry];
    }
    EXPECT_EQ(pack_rows(lengths, order, 300, PackMode::kBestFit), rows) << "seed " << seed;
  }
}

TEST(Packer, ManySamples) {
  const Lengths lengths = random_lengths(100000, 16384, 7);
  const Rows rows = pack_rows(lengths, random_permutation(lengths.size(), 42), 16384, PackMode::kBestFit);
  expect_sound(rows, lengths, 16384);
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  EXPECT_LT(static_cast<double>(rows.size()), 1.02 * static_cast<double>(tokens) / 16384);
}

TEST(Packer, PaddedLength) {
  EXPECT_EQ(padded_length(12385, 16384, false), 12416);
  EXPECT_EQ(padded_length(16384, 16384, false), 16384);
  EXPECT_EQ(padded_length(1, 100, false), 64);
  EXPECT_EQ(padded_length(1, 100, true), 128);
}

}  // namespace
}  // namespace shori
