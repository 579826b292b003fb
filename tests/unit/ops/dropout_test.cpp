// The dropout masks of the adapters: the mapping from counters to columns, replay, and statistics.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/rows.h"
#include "shori/util/hash.h"
#include "tests/support/ops_linear.h"

namespace shori {
namespace {

// 1 where kept.
std::vector<float> mask_of(const DropoutKey& key, int module, std::int64_t row, std::int64_t first,
                           std::int64_t count) {
  std::vector<float> mask(static_cast<std::size_t>(count), 1.0f);
  drop_row(key, module, row, first, count, mask.data());
  return mask;
}

constexpr DropoutKey kKey{
    .seed = 0x0123456789abcdef, .step = 7, .micro_batch = 3, .layer = 31, .first_token = 100, .probability = 0.1f};

TEST(Philox, KnownAnswers) {
  const auto words = [](std::uint64_t key, PhiloxWords counter) {
    const PhiloxWords result = philox4x32(key, counter);
    return std::vector<std::uint32_t>(result.word, result.word + 4);
  };
  EXPECT_EQ(words(0, {}), (std::vector<std::uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(~0ull, {{~0u, ~0u, ~0u, ~0u}}),
            (std::vector<std::uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(0x299f31d0a4093822, {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}),
            (std::vector<std::uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(DropoutMask, EqualsItsDefinition) {
  for (const float probability : {0.1f, 0.5f, 0.9f}) {
    DropoutKey key = kKey;
    key.probability = probability;
    for (const std::int64_t cols : {1, 7, 8, 63, 64, 65, 1003}) {
      const at::Tensor expected = dropout_mask(key, Linear::kGate, 3, cols) != 0;
      for (std::int64_t row = 0; row < 3; ++row) {
        const at::Tensor ours = at::tensor(mask_of(key, static_cast<int>(Linear::kGate), row, 0, cols)) != 0;
        EXPECT_TRUE(ours.equal(expected[row])) << cols << " columns, probability " << probability;
      }
    }
  }
}

// The values come from a plain Python implementation of the mapping.
TEST(DropoutMask, Golden) {
  std::string bits;
  for (const float kept : mask_of({.seed = 42, .step = 1, .probability = 0.5f}, 0, 0, 0, 64))
    bits += kept != 0 ? '1' : '0';
  EXPECT_EQ(bits, "0010100110011010001010101001000001111001000111110100111110101001");
  std::string many;
  for (int module = 0; module < 7; ++module) {
    for (const float kept : mask_of(kKey, module, 5, 0, 4096)) many += kept != 0 ? '1' : '0';
  }
  EXPECT_EQ(sha256_hex(many), "08e9e0b52d9ba564744fe5f8ba7ddde4614ec757a179ab06e0cee67e66241ed0");
}

TEST(DropoutMask, AnyTilingReplaysIt) {
  const std::vector<float> whole = mask_of(kKey, 2, 9, 0, 1000);
  for (const std::int64_t tile : {8, 24, 256}) {
    std::vector<float> joined;
    for (std::int64_t first = 0; first < 1000; first += tile) {
      const std::vector<float> part = mask_of(kKey, 2, 9, first, std::min<std::int64_t>(tile, 1000 - first));
      joined.insert(joined.end(), part.begin(), part.end());
    }
    EXPECT_EQ(joined, whole);
  }
  DropoutKey later = kKey;
  later.first_token += 9;
  EXPECT_EQ(mask_of(later, 2, 0, 0, 1000), whole) << "rows count from first_token";
}

// Fraction of equal bits of two masks, in standard deviations from independence.
double agreement_sigma(const std::vector<float>& a, const std::vector<float>& b, double drop) {
  double equal = 0;
  for (std::size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
  const double p = drop * drop + (1 - drop) * (1 - drop), n = static_cast<double>(a.size());
  return (equal - n * p) / std::sqrt(n * p * (1 - p));
}

TEST(DropoutMask, KeepRateIsWithinFourSigma) {
  double kept = 0, count = 0;
  for (std::int64_t row = 0; row < 64; ++row) {
    for (const float value : mask_of(kKey, static_cast<int>(row % 7), row, 0, 4096)) kept += value;
    count += 4096;
  }
  const double p = 1.0 - 6554.0 / 65536.0;
  EXPECT_EQ(kKey.threshold(), 6554u);
  EXPECT_LE(std::fabs(kept - count * p) / std::sqrt(count * p * (1 - p)), 4.0);
}

TEST(DropoutMask, ModulesTokensStepsLayersMicroBatchesAndSeedsAreIndependent) {
  constexpr std::int64_t kColumns = 1 << 17;
  const double drop = 6554.0 / 65536.0;
  const std::vector<float> base = mask_of(kKey, 0, 0, 0, kColumns);
  for (int module = 1; module < 7; ++module) {
    EXPECT_LE(std::fabs(agreement_sigma(base, mask_of(kKey, module, 0, 0, kColumns), drop)), 4.0)
        << "module " << module;
  }
  const auto changed = [&](auto change) {
    DropoutKey key = kKey;
    change(key);
    return std::fabs(agreement_sigma(base, mask_of(key, 0, 0, 0, kColumns), drop));
  };
  EXPECT_LE(changed([](DropoutKey& key) { ++key.first_token; }), 4.0);
  EXPECT_LE(changed([](DropoutKey& key) { ++key.step; }), 4.0);
  EXPECT_LE(changed([](DropoutKey& key) { --key.layer; }), 4.0);
  EXPECT_LE(changed([](DropoutKey& key) { ++key.micro_batch; }), 4.0);
  EXPECT_LE(changed([](DropoutKey& key) { ++key.seed; }), 4.0);
  EXPECT_LE(changed([](DropoutKey& key) { key.seed ^= std::uint64_t{1} << 63; }), 4.0);
  EXPECT_GE(changed([](DropoutKey&) {}), 50.0) << "the same key gives the same mask";
  std::vector<float> shifted(base.begin() + 1, base.end());
  shifted.push_back(1.0f);
  EXPECT_LE(std::fabs(agreement_sigma(base, shifted, drop)), 4.0) << "neighbouring columns";
}

TEST(DropoutKey, ScaleIsThatOfTheProbability) {
  EXPECT_EQ(std::bit_cast<std::uint32_t>(kKey.scale()), 0x3f8e38e4u);
  EXPECT_EQ(DropoutKey{}.scale(), 1.0f);
}

}  // namespace
}  // namespace shori
