#include "shori/util/number_text.h"

#include <gtest/gtest.h>

#include <limits>
#include <optional>

namespace shori {
namespace {

TEST(NumberText, ANumberIsTheWholeText) {
  EXPECT_EQ(parse_number<std::uint16_t>("65535"), 65535);
  EXPECT_EQ(parse_number<std::int64_t>("-7"), -7);
  for (const char* text : {"", "65536", "-1", "+1", " 1", "1 ", "1.0", "0x1"})
    EXPECT_EQ(parse_number<std::uint16_t>(text), std::nullopt) << text;
}

TEST(NumberText, DecimalsAreThoseThatWereWritten) {
  EXPECT_EQ(decimal_of(0.07f), 0.07);
  EXPECT_EQ(decimal_of(-0.4f), -0.4);
  EXPECT_EQ(decimal_of(1.0f), 1.0);
}

TEST(NumberText, Commas) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1'000), "1,000");
  EXPECT_EQ(with_commas(999'999), "999,999");
  EXPECT_EQ(with_commas(1'000'000), "1,000,000");
  EXPECT_EQ(with_commas(4'799'646), "4,799,646");
  EXPECT_EQ(with_commas(-1), "-1");
  EXPECT_EQ(with_commas(-999), "-999");
  EXPECT_EQ(with_commas(-1'000), "-1,000");
  EXPECT_EQ(with_commas(std::numeric_limits<std::int64_t>::max()), "9,223,372,036,854,775,807");
}

TEST(NumberText, OnlyOneIsSingular) {
  EXPECT_EQ(counted(0, "step"), "0 steps");
  EXPECT_EQ(counted(1u, "step"), "1 step");
  EXPECT_EQ(counted(std::size_t{2}, "step"), "2 steps");
}

TEST(NumberText, RatiosRoundHalfToEvenExactly) {
  const auto megabytes = [](std::int64_t bytes) { return ratio_text(bytes, 1'000'000, 1); };
  EXPECT_EQ(megabytes(18'350'000), "18.4");
  EXPECT_EQ(megabytes(18'450'000), "18.4");
  EXPECT_EQ(megabytes(18'450'001), "18.5");
  EXPECT_EQ(megabytes(18'349'999), "18.3");
  EXPECT_EQ(megabytes(0), "0.0");
  EXPECT_EQ(megabytes(50'000), "0.0");
  EXPECT_EQ(megabytes(150'000), "0.2");
  EXPECT_EQ(megabytes(999'950'000), "1,000.0");
  EXPECT_EQ(megabytes(1'234'567'890), "1,234.6");
  EXPECT_EQ(ratio_text(4'799'646, 32'047, 1), "149.8");
  EXPECT_EQ(ratio_text(18'400'000, 4'799'646, 2), "3.83");
  EXPECT_EQ(ratio_text(32'047, 486, 1), "65.9");
  EXPECT_EQ(ratio_text(4'799'646, 486, 0), "9,876");
  EXPECT_EQ(ratio_text(1, 300, 2), "0.00");
  EXPECT_EQ(ratio_text(201, 100, 1), "2.0");
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(ratio_text(most, most, 3), "1.000");
}

TEST(NumberText, Percent) {
  EXPECT_EQ(percent_text(1, 3), "33.3");
  EXPECT_EQ(percent_text(2, 3), "66.7");
  EXPECT_EQ(percent_text(3, 3), "100.0");
  EXPECT_EQ(percent_text(0, 0), "0.0");
}

}  // namespace
}  // namespace shori
