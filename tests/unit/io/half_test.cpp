#include "shori/io/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "shori/io/half_rows.h"
#include "shori/util/bf16.h"

namespace shori {
namespace {

std::uint16_t half_of_bits(std::uint32_t bits) { return float_to_half(std::bit_cast<float>(bits)); }

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(float_to_half(1.0f), 0x3c00);
  EXPECT_EQ(float_to_half(0.1f), 0x2e66);
  EXPECT_EQ(float_to_half(-2.0f), 0xc000);
  EXPECT_EQ(float_to_half(65504.0f), 0x7bff);
  EXPECT_EQ(half_of_bits(0x477fefff), 0x7bff);  // 65519.996
  EXPECT_EQ(half_of_bits(0x477ff000), 0x7c00);  // 65520
  EXPECT_EQ(float_to_half(0x1p-24f), 0x0001);
  EXPECT_EQ(float_to_half(0x1p-25f), 0x0000);  // tie, even
  EXPECT_EQ(half_of_bits(0x33000001), 0x0001);
  EXPECT_EQ(float_to_half(0x1p-14f), 0x0400);
  EXPECT_EQ(half_of_bits(0x3f801000), 0x3c00);
  EXPECT_EQ(half_of_bits(0x3f803000), 0x3c02);
  EXPECT_EQ(float_to_half(-0.0f), 0x8000);
  EXPECT_EQ(float_to_half(INFINITY), 0x7c00);
  EXPECT_EQ(float_to_half(-INFINITY), 0xfc00);
}

// Values around every half, NaNs and infinities among them, at every position of a group; lengths that leave a rest.
TEST(Half, RowsAreConvertedAsSingleValues) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::uint32_t whole = std::bit_cast<std::uint32_t>(half_to_float(static_cast<std::uint16_t>(bits)));
    for (const std::uint32_t low : {0u, 0x0fffu, 0x1000u, 0x1001u}) values.push_back(std::bit_cast<float>(whole + low));
    if (bits % 1021 == 0) values.push_back(std::bit_cast<float>(0x7f800001u + bits));
  }
  for (const std::size_t left_out : {0u, 1u, 5u, 7u}) {
    const std::span<const float> row = std::span(values).subspan(left_out);
    std::vector<std::uint16_t> halves(row.size());
    to_halves(row, halves.data());
    for (std::size_t i = 0; i < row.size(); ++i)
      ASSERT_EQ(halves[i], float_to_half(row[i])) << std::hex << std::bit_cast<std::uint32_t>(row[i]);
  }
}

TEST(Half, RowsAreWidenedAsSingleValues) {
  std::vector<std::uint16_t> halves;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) halves.push_back(static_cast<std::uint16_t>(bits));
  halves.push_back(0x7d01);  // a NaN whose neighbours are numbers
  for (const std::size_t left_out : {0u, 1u, 5u, 7u}) {
    const std::span<const std::uint16_t> row = std::span(halves).subspan(left_out);
    std::vector<float> values(row.size());
    from_halves(row, values.data());
    for (std::size_t i = 0; i < row.size(); ++i)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(half_to_float(row[i])))
          << std::hex << row[i];
  }
}

TEST(Half, EveryBitPatternReadsBackExactly) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    const int exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 31 && mantissa != 0) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(value))));
      continue;
    }
    // From the definition of the format.
    double wanted = exponent == 31  ? HUGE_VAL
                    : exponent == 0 ? std::ldexp(mantissa, -24)
                                    : std::ldexp(1024 + mantissa, exponent - 25);
    if (half & 0x8000) wanted = -wanted;
    EXPECT_EQ(static_cast<double>(value), wanted) << bits;
    EXPECT_EQ(std::signbit(value), (half & 0x8000) != 0) << bits;
    EXPECT_EQ(float_to_half(value), half) << bits;
  }
}

TEST(Half, NeighboursRoundToTheNearer) {
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const double low = half_to_float(half), high = half_to_float(static_cast<std::uint16_t>(half + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact in fp32
    EXPECT_EQ(float_to_half(middle), half % 2 == 0 ? half : half + 1) << half;
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 0.0f)), half) << half;
    EXPECT_EQ(float_to_half(std::nextafterf(middle, 1e9f)), half + 1) << half;
  }
}

TEST(Bf16, RoundsToNearestEven) {
  const auto bf16 = [](std::uint32_t bits) { return to_bf16(std::bit_cast<float>(bits)).bits; };
  EXPECT_EQ(bf16(0x3f800000), 0x3f80);
  EXPECT_EQ(bf16(0x3f808000), 0x3f80);
  EXPECT_EQ(bf16(0x3f808001), 0x3f81);
  EXPECT_EQ(bf16(0x3f818000), 0x3f82);
  EXPECT_EQ(bf16(0x3f817fff), 0x3f81);
  EXPECT_EQ(bf16(0xbf818000), 0xbf82);
  EXPECT_EQ(bf16(0x7f7fffff), 0x7f80);
  EXPECT_EQ(bf16(0x7f800000), 0x7f80);
  EXPECT_EQ(bf16(0x00008000), 0x0000);
  EXPECT_EQ(bf16(0x00018000), 0x0002);
  EXPECT_EQ(bf16(0x80000000), 0x8000);
  EXPECT_EQ(bf16(0x00000001), 0x0000);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace shori
