#include "shori/util/byte_size.h"

#include <gtest/gtest.h>

namespace shori {
namespace {

TEST(ByteSize, ReadsNumberAndUnit) {
  EXPECT_EQ(parse_byte_size("24GiB"), std::size_t{24} << 30);
  EXPECT_EQ(parse_byte_size("22.5 GB"), 22'500'000'000u);
  EXPECT_EQ(parse_byte_size("512MiB"), std::size_t{512} << 20);
  EXPECT_EQ(parse_byte_size("1KB"), 1000u);
}

TEST(ByteSize, RefusesEverythingElse) {
  for (const char* text : {"", "24", "GiB", "24gib", "24 GiB ", "-1GiB", "0GiB", "1e3GiB", "nanGiB", "infGiB",
                           "9999999999GiB", "24  GiB"}) {
    EXPECT_FALSE(parse_byte_size(text)) << text;
  }
}

TEST(FormatBytes, ChoosesTheUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(std::uint64_t{41} << 30), "41.0 GiB");
  EXPECT_EQ(format_bytes(std::uint64_t{1} << 51), "2048.0 TiB");
}

TEST(FormatGib, HasTwoDigits) {
  EXPECT_EQ(format_gib(std::uint64_t{24} << 30), "24.00 GiB");
  EXPECT_EQ(format_gib(4'402'341'478), "4.10 GiB");
}

}  // namespace
}  // namespace shori
