// The vectors are from the Python package xxhash.
#include "shori/util/xxh64.h"

#include <gtest/gtest.h>

#include <string>

namespace shori {
namespace {

std::uint64_t hash_of(std::string_view text) { return Xxh64().update(text.data(), text.size()).finish(); }

std::string counting(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + 1);
  return text;
}

TEST(Xxh64, Golden) {
  EXPECT_EQ(hash_of(""), 0xef46db3751d8e999);
  EXPECT_EQ(hash_of("a"), 0xd24ec4f1a98c6e5b);
  EXPECT_EQ(hash_of("abc"), 0x44bc2cf5ad770999);
  EXPECT_EQ(hash_of(counting(31)), 0x6ab1c40e29f50073);
  EXPECT_EQ(hash_of(counting(32)), 0x5a0756fbe9ecd3d1);
  EXPECT_EQ(hash_of(counting(33)), 0xdc50cdc37bb9c183);
  EXPECT_EQ(hash_of(counting(63)), 0x10dd94885c71894a);
  EXPECT_EQ(hash_of(counting(64)), 0x90083da9cdb9d795);
  EXPECT_EQ(hash_of(counting(203)), 0x216dfb44a02ed214);
}

TEST(Xxh64, TheSameInAnyChunks) {
  const std::string text = counting(203);
  for (std::size_t first = 0; first <= text.size(); ++first)
    for (const std::size_t second : {0u, 1u, 31u, 32u, 70u}) {
      const std::size_t middle = std::min(second, text.size() - first);
      Xxh64 hash;
      hash.update(text.data(), first).update(text.data() + first, middle);
      hash.update(text.data() + first + middle, text.size() - first - middle);
      EXPECT_EQ(hash.finish(), hash_of(text)) << first << " " << second;
    }
}

// Two sign bits of one lane cancel each other in a simpler hash.
TEST(Xxh64, ChangedBitsAreSeen) {
  const std::string text = counting(96);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 0x80);
    EXPECT_NE(hash_of(bad), hash_of(text)) << i;
    for (std::size_t other = i + 32; other < text.size(); other += 32) {
      std::string both = bad;
      both[other] = static_cast<char>(both[other] ^ 0x80);
      EXPECT_NE(hash_of(both), hash_of(text)) << i << " " << other;
    }
  }
}

}  // namespace
}  // namespace shori
