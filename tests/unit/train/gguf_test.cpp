// The GGUF container, its number formats and the order of rows. Golden bytes are from an independent script.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "shori/io/half.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/math.h"
#include "src/export/gguf/gguf_file.h"
#include "src/export/gguf/gguf_metadata.h"
#include "src/export/gguf/gguf_values.h"
#include "src/export/gguf/q8_blocks.h"
#include "src/export/merged_weights.h"
#include "tests/support/error_code.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

GgufHeader golden_header() {
  return {{{"general.architecture", "llama"},
           {"test.u32", std::uint32_t{7}},
           {"test.f32", 1.5f},
           {"test.bool", true},
           {"test.strings", std::vector<std::string>{"a", "▄"}}},
          {{"a.weight", {3, 2}, GgufType::kF32}, {"b.weight", {2}, GgufType::kBf16}}};
}

void write_golden(GgufWriter& file) {
  const std::array<float, 6> a = {1, 2, 3, 4, 5, 6};
  const std::array<unsigned char, 4> b = {0x80, 0x3f, 0x00, 0xc0};
  file.append(a.data(), 12);
  file.append(a.data() + 3, 12);
  file.append(b.data(), b.size());
  file.finish();
}

std::string encoded_hex(GgufType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(bytes_of(type, values.size()));
  encode_gguf_values(type, values, bytes.data(), "w");
  return to_hex(bytes.data(), bytes.size());
}

class Gguf : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string path_ = folder_.file("model.gguf");
};

TEST_F(Gguf, GoldenFile) {
  GgufWriter file(path_, golden_header());
  write_golden(file);
  EXPECT_FALSE(std::filesystem::exists(path_)) << "before it is verified it has no name";
  file.verify();
  file.publish();
  const std::string bytes = folder_.read("model.gguf");
  EXPECT_EQ(bytes.size(), 352u);
  EXPECT_EQ(gguf_header_bytes(golden_header()).size(), 288u);
  EXPECT_EQ(sha256_hex(bytes), "5adce851a0593ce8c6d2d20d9cac66e116476162d2386cb86941b516ae0a4fdf");
  EXPECT_EQ(GgufFile::open(InputFile::open(path_)).header(), golden_header());
}

TEST_F(Gguf, AnOldFileIsMovedAsideAndAFailureLeavesIt) {
  folder_.write("model.gguf", "old");
  {
    GgufWriter given_up(path_, golden_header());
    EXPECT_EQ(code_of([&] { GgufWriter second(path_, golden_header()); }), "E0513") << "two exports at once";
  }
  EXPECT_EQ(folder_.read("model.gguf"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
  GgufWriter file(path_, golden_header());
  write_golden(file);
  file.publish();
  EXPECT_EQ(folder_.read("model.gguf.old-1"), "old");
}

TEST_F(Gguf, AFlippedBitOfAnyByteIsFound) {
  GgufWriter file(path_, golden_header());
  write_golden(file);
  const std::string temporary = folder_.file(".model.gguf.tmp"), good = folder_.read(".model.gguf.tmp");
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    folder_.write(".model.gguf.tmp", bad);
    EXPECT_EQ(code_of([&] { file.verify(); }), "E0804") << "byte " << i;
  }
  for (std::size_t size = 0; size < good.size(); size += 7) {
    folder_.write(".model.gguf.tmp", good.substr(0, size));
    EXPECT_EQ(code_of([&] { file.verify(); }), "E0804") << size << " bytes";
  }
  folder_.write(".model.gguf.tmp", good + std::string(32, '\0'));
  EXPECT_EQ(code_of([&] { file.verify(); }), "E0804");
  folder_.write(".model.gguf.tmp", good);
  EXPECT_EQ(code_of([&] { file.verify(); }), "none");
}

TEST_F(Gguf, HugeCountsAreRefusedBeforeMemoryIsTaken) {
  const std::string good = [&] {
    GgufWriter file(path_, golden_header());
    write_golden(file);
    return folder_.read(".model.gguf.tmp");
  }();
  // Counts of tensors and entries, length of the first key, count of the array, the first size of a tensor.
  for (const std::size_t at : {8u, 16u, 24u, 0xa9u, 0xd6u}) {
    for (const std::uint64_t value : {~0ull, 1ull << 63, 1ull << 61, 1ull << 40}) {
      std::string bad = good;
      std::memcpy(bad.data() + at, &value, 8);
      EXPECT_EQ(code_of([&] { GgufFile::open(InputFile::open(folder_.write("bad.gguf", bad))); }), "E0804") << at;
    }
  }
}

TEST(GgufValues, Q8Golden) {
  std::vector<float> ramp(32), mixed(32), zeros(32);
  for (int j = 0; j < 32; ++j) ramp[static_cast<std::size_t>(j)] = static_cast<float>(j - 16) / 10.0f;
  const std::array<float, 7> first = {127, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, -127};
  std::ranges::copy(first, mixed.begin());
  EXPECT_EQ(encoded_hex(GgufType::kQ8_0, ramp),
            "7322818991"
            "99a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77");
  EXPECT_EQ(encoded_hex(GgufType::kQ8_0, mixed), "003c7f01ff02fe0381" + std::string(50, '0'));
  EXPECT_EQ(encoded_hex(GgufType::kQ8_0, zeros), std::string(68, '0'));
  std::vector<float> back(32);
  std::vector<std::byte> bytes(34);
  encode_gguf_values(GgufType::kQ8_0, ramp, bytes.data(), "w");
  decode_gguf_values(GgufType::kQ8_0, bytes.data(), back);
  for (std::size_t j = 0; j < 32; ++j) EXPECT_NEAR(back[j], ramp[j], 0.0064) << j;
}

TEST(GgufValues, JustBelowOneHalfIsNotRoundedUp) {
  std::vector<float> values(32);
  values[0] = 127;
  values[1] = std::nextafter(0.5f, 0.0f);
  EXPECT_EQ(encoded_hex(GgufType::kQ8_0, values).substr(4, 4), "7f00");
}

TEST(GgufValues, TinyBlocksDoNotDivideByZero) {
  std::vector<float> values(32, 1e-44f);
  EXPECT_EQ(encoded_hex(GgufType::kQ8_0, values), std::string(68, '0'));
}

// Values around every half code, of both signs, at scales from the least to the largest; every number of blocks to 5.
TEST(GgufValues, Q8BlocksByInstructionsAreThoseOfPlainLoops) {
  std::vector<float> values;
  for (const float scale : {1e-44f, 3e-39f, 1e-30f, 1e-7f, 0.01f, 1.0f, 0.3f, 60000.0f}) {
    for (int code = -127; code <= 127; ++code) {
      const float half = (static_cast<float>(code) + 0.5f) * scale;
      for (const float value : {half, std::nextafter(half, 0.0f), std::nextafter(half, 2 * half)})
        values.push_back(std::abs(value) <= 127 * scale ? value : 0.0f);
      if (values.size() % kQ8Values == 0) values.push_back(127 * scale);  // the scale of this block
    }
    values.resize(round_up(values.size(), kQ8Values), -0.0f);
  }
  const std::size_t block_bytes = bytes_of(GgufType::kQ8_0, kQ8Values);
  for (std::size_t first = 0; first < values.size(); first += kQ8Values) {
    for (std::size_t blocks = 0; blocks <= std::min<std::size_t>(5, (values.size() - first) / kQ8Values); ++blocks) {
      const std::span<const float> row = std::span(values).subspan(first, blocks * kQ8Values);
      std::vector<std::byte> plain(blocks * block_bytes + 1), fast(plain), used(plain);
      encode_q8_blocks_plain(row, plain.data());
      if (has_q8_instructions()) encode_q8_blocks_avx2(row, fast.data());
      encode_q8_blocks(row, used.data());
      if (has_q8_instructions()) {
        ASSERT_EQ(plain, fast) << first << " " << blocks;
      }
      ASSERT_EQ(plain, used) << first << " " << blocks;
    }
  }
}

TEST(GgufValues, Bf16AndF16AreRoundedToNearestEven) {
  struct Case {
    std::uint32_t bits;
    std::uint16_t bf16;
  };
  for (const Case& one :
       {Case{0x3f800000, 0x3f80}, Case{0x3f808000, 0x3f80}, Case{0x3f808001, 0x3f81}, Case{0x3f818000, 0x3f82},
        Case{0x3f817fff, 0x3f81}, Case{0xbf818000, 0xbf82}, Case{0x7f7fffff, 0x7f80}, Case{0x7f800000, 0x7f80},
        Case{0x7f800001, 0x7fc0}, Case{0xff800001, 0xffc0}, Case{0x00008000, 0x0000}, Case{0x00018000, 0x0002},
        Case{0x80000000, 0x8000}, Case{0x00000001, 0x0000}})
    EXPECT_EQ(encode_value(std::bit_cast<float>(one.bits), MergeDType::kBf16), one.bf16) << std::hex << one.bits;
  EXPECT_EQ(encoded_hex(GgufType::kF16, {1.0f, 0.1f, -2.0f, 65504.0f, std::bit_cast<float>(0x477fefffu), 0x1p-24f,
                                         0x1p-25f, std::bit_cast<float>(0x33000001u), 0x1p-14f,
                                         std::bit_cast<float>(0x3f801000u), std::bit_cast<float>(0x3f803000u)}),
            "003c662e00c0ff7bff7b0100000001000004003c023c");
  EXPECT_EQ(encoded_hex(GgufType::kBf16, {1.0f, -2.0f}), "803f00c0");
}

TEST(GgufValues, RowsOfBf16AreRoundedAsSingleValues) {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 0x10000; ++upper)
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      values.push_back(std::bit_cast<float>(upper << 16 | low));
  values.resize(values.size() - 5);
  std::vector<std::uint16_t> row(values.size());
  encode_bf16(values, row.data());
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(row[i], encode_value(values[i], MergeDType::kBf16))
        << std::hex << std::bit_cast<std::uint32_t>(values[i]);
}

TEST(GgufValues, ValuesThatATypeCannotHold) {
  std::vector<float> values(32, 65520.0f);
  EXPECT_EQ(code_of([&] { encoded_hex(GgufType::kF16, values); }), "E0804");
  EXPECT_EQ(code_of([&] { encoded_hex(GgufType::kQ8_0, values); }), "none");
  values[3] = 1e7f;
  EXPECT_EQ(code_of([&] { encoded_hex(GgufType::kQ8_0, values); }), "E0804");
  values[3] = std::nanf("");
  for (const GgufType type : {GgufType::kF32, GgufType::kF16, GgufType::kBf16, GgufType::kQ8_0})
    EXPECT_EQ(code_of([&] { encoded_hex(type, values); }), "E0210");
}

TEST(GgufValues, OrderOfTheRowsOfQAndK) {
  std::vector<float> one = {0, 1, 2, 3, 4, 5, 6, 7}, two = one;
  permute_rows(one, 1, 8);
  EXPECT_EQ(one, (std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7}));
  permute_rows(two, 1, 4);
  EXPECT_EQ(two, (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(GgufMetadata, SizeLabel) {
  EXPECT_EQ(size_label(7'241'732'096), "7B");
  EXPECT_EQ(size_label(4'260'000), "4M");
  EXPECT_EQ(size_label(52'000), "52K");
}

TEST(GgufMetadata, PiecesThatLlamaCppDoesNotLoad) {
  HfModelConfig config;
  config.vocab_size = 4;
  TokenizerModel tokenizer;
  tokenizer.pieces = {
      {"<unk>", 0, PieceType::kUnknown}, {"<s>", 0, PieceType::kControl}, {"</s>", 0, PieceType::kControl}};
  const auto tokens = [&] {
    for (const auto& [key, value] : model_entries({config, tokenizer, "name", "org/base", 1, {}, {}, {}}))
      if (key == "tokenizer.ggml.tokens") return std::get<std::vector<std::string>>(value);
    return std::vector<std::string>();
  };
  EXPECT_EQ(tokens(), (std::vector<std::string>{"<unk>", "<s>", "</s>", "[PAD3]"}));
  config.vocab_size = 5;
  tokenizer.pieces.push_back({"[PAD4]", 0, PieceType::kNormal});
  EXPECT_EQ(code_of([&] { tokens(); }), "E0211");
}

}  // namespace
}  // namespace shori
