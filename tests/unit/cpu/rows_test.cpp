// Row functions that have versions for several registers, against their definitions one element at a time.
#include "kernels/cpu/rows.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "shori/util/philox.h"
#include "tests/support/guarded.h"

namespace shori {
namespace {

using Row = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
const Row kSpecial{0.0f, -0.0f, kNan, -kNan, kInfinity, -kInfinity, -87.33f, -87.34f, 88.72f, 88.73f, 1e-40f, -200.0f};

Row random_row(std::size_t count, std::uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  Row row(count);
  for (float& value : row) value = normal(random);
  return row;
}

// Rows of every length around the widths of registers, some with special values.
std::vector<Row> rows(std::uint32_t seed) {
  std::vector<Row> list;
  for (std::size_t count = 1; count <= 70; ++count) {
    list.push_back(random_row(count, seed + static_cast<std::uint32_t>(count), count % 3 == 0 ? 40.0f : 2.0f));
    if (count % 2 == 0) list.back()[count / 2] = kSpecial[count / 2 % kSpecial.size()];
  }
  return list;
}

bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

void expect_same(const Row& a, const Row& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(same_bits(a[i], b[i])) << what << ", " << a.size() << " values, at " << i << ": " << a[i] << ", "
                                       << b[i];
  }
}

// The sum of a row in 16 lanes, then by a tree over the lanes.
float sum_in_lanes(const Row& row) {
  std::array<float, 16> lanes{};
  for (std::size_t i = 0; i < row.size(); ++i) lanes[i % 16] += row[i];
  for (std::size_t half = 8; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

TEST(Rows, ExpOfARowIsThatOfEachValueAndSumsInSixteenLanes) {
  for (const Row& row : rows(1)) {
    Row expected = row;
    for (float& value : expected) exp_shifted_row(0.75f, 0.5f, &value, 1);
    Guarded<float> values(row.size());
    std::copy(row.begin(), row.end(), values.data());
    const float sum = exp_shifted_row(0.75f, 0.5f, values.data(), static_cast<std::int64_t>(row.size()));
    expect_same({values.all().begin(), values.all().end()}, expected, "exp_shifted_row");
    EXPECT_TRUE(same_bits(sum, sum_in_lanes(expected))) << row.size();
  }
}

TEST(Rows, ExpIsWithinAnUlpOrTwo) {
  for (float x = -87.3f; x < 88.7f; x += 0.0137f) {
    float value = x;
    exp_shifted_row(1.0f, 0.0f, &value, 1);
    const double exact = std::exp(static_cast<double>(x));
    EXPECT_NEAR(value, exact, 2.5e-7 * exact) << x;
  }
}

TEST(Rows, MaxOfARowIsItsLargestValueAndNanIfThereIsOne) {
  for (const Row& row : rows(2)) {
    float expected = -kInfinity;
    bool nan = false;
    for (const float value : row) {
      expected = value > expected ? value : expected;
      nan = nan || std::isnan(value);
    }
    Guarded<float> values(row.size());
    std::copy(row.begin(), row.end(), values.data());
    EXPECT_TRUE(same_bits(max_of_row(values.data(), static_cast<std::int64_t>(row.size())), nan ? kNan : expected));
  }
}

TEST(Rows, ActivationsAndTheirGradientsAreThoseOfEachValue) {
  for (const Row& row : rows(3)) {
    const auto count = static_cast<std::int64_t>(row.size());
    const Row other = random_row(row.size(), 9, 1.0f), third = random_row(row.size(), 10, 1.0f);
    Row silu = row, silu_each = row;
    silu_row(silu.data(), count);
    Row gate = row, up = other, gate_each = row, up_each = other, p = row, ds = other, p_each = row, ds_each = other;
    swiglu_gradient_row(third.data(), gate.data(), up.data(), count);
    attention_gradient_row(0.3f, 0.2f, 0.1f, p.data(), ds.data(), count);
    for (std::size_t i = 0; i < row.size(); ++i) {
      silu_row(&silu_each[i], 1);
      swiglu_gradient_row(&third[i], &gate_each[i], &up_each[i], 1);
      attention_gradient_row(0.3f, 0.2f, 0.1f, &p_each[i], &ds_each[i], 1);
    }
    expect_same(silu, silu_each, "silu_row");
    expect_same(gate, gate_each, "gradient of gate");
    expect_same(up, up_each, "gradient of up");
    expect_same(p, p_each, "attention_gradient_row, p");
    expect_same(ds, ds_each, "attention_gradient_row, ds");
  }
}

// The draw of a column by the definition of DropoutKey.
std::uint32_t draw_of(const DropoutKey& key, int module, std::int64_t row, std::int64_t column) {
  const PhiloxWords words =
      philox4x32(key.seed, {{static_cast<std::uint32_t>(column / 8), key.first_token + static_cast<std::uint32_t>(row),
                             key.step, key.micro_batch << 16 | (key.layer * 8 + static_cast<std::uint32_t>(module))}});
  const std::uint32_t word = words.word[column % 8 / 2];
  return column % 2 == 0 ? word & 0xffff : word >> 16;
}
bool is_dropped(const DropoutKey& key, int module, std::int64_t row, std::int64_t column) {
  return draw_of(key, module, row, column) < key.threshold();
}

TEST(Rows, DropoutDropsWhatTheKeySays) {
  for (const float probability : {0.0001f, 0.1f, 0.5f, 0.6f, 0.99999f, 1.0f}) {
    DropoutKey key{.seed = 0xfedcba9876543210u, .step = 7, .micro_batch = 3, .layer = 31, .probability = probability};
    for (const std::uint32_t first_token : {0u, 4294967290u}) {
      key.first_token = first_token;
      for (const std::int64_t first : {std::int64_t{0}, std::int64_t{8}, std::int64_t{136}, std::int64_t{1} << 33}) {
        for (const std::int64_t count : {1, 8, 63, 64, 65, 100, 128, 200}) {
          Guarded<float> values(static_cast<std::size_t>(count));
          std::fill(values.all().begin(), values.all().end(), -2.5f);
          drop_row(key, 5, 9, first, count, values.data());
          for (std::int64_t i = 0; i < count; ++i) {
            const float expected = is_dropped(key, 5, 9, first + i) ? 0.0f : -2.5f;
            ASSERT_TRUE(same_bits(values[static_cast<std::size_t>(i)], expected))
                << probability << ", column " << first + i;
          }
          Guarded<Bf16> narrow(static_cast<std::size_t>(count));
          std::fill(narrow.all().begin(), narrow.all().end(), to_bf16(-2.5f));
          drop_row(key, 5, 9, first, count, narrow.data());
          for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(narrow[i], to_bf16(values[i])) << probability;
        }
      }
    }
  }
}

// One draw in 65,536 equals the threshold, so chance does not try it.
TEST(Rows, DropoutKeepsADrawThatEqualsTheThreshold) {
  constexpr std::size_t kColumns = 100;  // 64 of them by registers, where there are any
  DropoutKey key{.seed = 5, .step = 2};
  for (std::size_t column = 0; column < kColumns; ++column) {
    const std::uint32_t draw = draw_of(key, 1, 4, static_cast<std::int64_t>(column));
    for (const std::uint32_t threshold : {draw, draw + 1}) {
      key.probability = static_cast<float>(threshold) / 65536.0f;
      Row values(kColumns, 1.0f);
      drop_row(key, 1, 4, 0, kColumns, values.data());
      ASSERT_EQ(values[column], threshold > draw ? 0.0f : 1.0f) << "column " << column << ", draw " << draw;
    }
  }
}

}  // namespace
}  // namespace shori
