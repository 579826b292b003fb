#include "shori/util/hash.h"

#include <gtest/gtest.h>

#include <vector>

#include "src/util/sha256_blocks.h"

namespace shori {
namespace {

// FIPS 180-4 and NIST example values.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(
      sha256_hex("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
                 "mnopqrstnopqrstu"),
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

TEST(Sha256, AMillionLettersInUnevenChunks) {
  const std::string letters(1000000, 'a');
  Sha256 hash;
  std::size_t at = 0;
  for (std::size_t piece = 1; at < letters.size(); piece = piece * 7 % 1009 + 1) {
    const std::size_t count = std::min(piece, letters.size() - at);
    hash.update(letters.data() + at, count);
    at += count;
  }
  EXPECT_EQ(to_hex(hash.finish()), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, EveryLengthAroundTheBlockSizeIsPaddedTheSameInOneAndInManyCalls) {
  for (std::size_t size = 0; size <= 200; ++size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i * 37 + size);
    Sha256 by_bytes;
    for (const char c : text) by_bytes.update(&c, 1);
    EXPECT_EQ(to_hex(by_bytes.finish()), sha256_hex(text)) << size;
  }
}

TEST(Sha256, HardwareAndPortableFormsAgree) {
  if (!has_sha_instructions()) {
    EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    return;
  }
  std::vector<std::uint8_t> data(64 * 33);
  std::uint32_t random = 12345;
  for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>((random = random * 1664525 + 1013904223) >> 24);
  for (std::size_t blocks : {0u, 1u, 2u, 3u, 32u, 33u}) {
    std::uint32_t portable[8] = {1, 2, 3, 4, 5, 6, 7, 8}, hardware[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    sha256_blocks_portable(portable, data.data(), blocks);
    sha256_blocks_x86(hardware, data.data(), blocks);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(portable[i], hardware[i]) << blocks << " " << i;
    std::uint32_t backward[8] = {8, 7, 6, 5, 4, 3, 2, 1}, second[8] = {8, 7, 6, 5, 4, 3, 2, 1};
    sha256_blocks_portable(backward, data.data() + 1, std::min(blocks, std::size_t{32}));
    sha256_blocks_portable(portable, data.data(), std::min(blocks, std::size_t{32}));
    sha256_two_x86(second, data.data() + 1, hardware, data.data(), std::min(blocks, std::size_t{32}));
    for (int i = 0; i < 8; ++i) EXPECT_EQ(portable[i], hardware[i]) << blocks << " " << i;
    for (int i = 0; i < 8; ++i) EXPECT_EQ(backward[i], second[i]) << blocks << " " << i;
  }
}

std::vector<std::byte> random_bytes(std::size_t size, std::uint32_t seed) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

TEST(Sha256, TwoTextsSideBySideHaveTheDigestsOfEach) {
  const std::vector<std::byte> first = random_bytes(700, 1), second = random_bytes(700, 2);
  struct Case {
    std::size_t held, other_held;  // bytes that were hashed before, of each
    std::size_t taken, other_taken;
  };
  std::vector<Case> cases;
  // 55 bytes leave room for the length in their block, 56 do not.
  for (const std::size_t held : {0u, 1u, 63u, 64u, 65u})
    for (const std::size_t other_held : {0u, 5u, 63u})
      for (const std::size_t taken : {0u, 1u, 55u, 56u, 63u, 64u, 127u, 192u, 500u})
        for (const std::size_t other_taken : {0u, 59u, 64u, 250u, 500u})
          cases.push_back({held, other_held, taken, other_taken});
  Sha256Pair pair;
  for (const Case& one : cases) {
    for (int round = 0; round < 2; ++round) {
      pair.update(std::span(first).first(one.held), std::span(second).first(one.other_held));
      pair.update(std::span(first).subspan(one.held, one.taken),
                  std::span(second).subspan(one.other_held, one.other_taken));
      EXPECT_EQ(pair.finish_first(), sha256(first.data(), one.held + one.taken)) << one.held << " " << one.taken;
      EXPECT_EQ(pair.finish_second(), sha256(second.data(), one.other_held + one.other_taken))
          << one.other_held << " " << one.other_taken;
    }
  }
}

TEST(Sha256, PortableFormGivesTheKnownAnswer) {
  std::uint8_t block[64] = {'a', 'b', 'c', 0x80};
  block[63] = 24;
  std::uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  sha256_blocks_portable(state, block, 1);
  EXPECT_EQ(state[0], 0xba7816bfu);
  EXPECT_EQ(state[7], 0xf20015adu);
}

TEST(ToHex, WritesLowerCaseDigits) {
  const std::uint8_t bytes[] = {0x00, 0x0f, 0xa5, 0xff};
  EXPECT_EQ(to_hex(bytes, 4), "000fa5ff");
}

}  // namespace
}  // namespace shori
