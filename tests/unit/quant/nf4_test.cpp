// Golden values: bitsandbytes 0.50.2 (4-bit codes and dequantization) and a strict-fp32 model of its CUDA kernels
// (double quantization).
#include "shori/quant/nf4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "shori/io/half.h"
#include "shori/quant/dynamic_map.h"
#include "tests/support/nf4_vectors.h"
#include "tests/support/sha256_of.h"

namespace shori {
namespace {

// 32,768 bf16 values from a linear congruential generator.
std::vector<Bf16> golden_input() {
  std::vector<Bf16> values;
  std::uint32_t state = 1;
  for (int i = 0; i < 32768; ++i) {
    state = state * 1664525u + 1013904223u;
    const std::uint32_t bits = (state >> 31) << 15 | (112 + ((state >> 24) & 7)) << 7 | ((state >> 16) & 127);
    values.push_back(Bf16{static_cast<std::uint16_t>(bits)});
  }
  return values;
}

std::vector<float> widen(const std::vector<Bf16>& values) {
  std::vector<float> result;
  for (const Bf16 value : values) result.push_back(to_float(value));
  return result;
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (float& value : values) value = round_to_bf16(normal(random));
  return values;
}

bool same(const Nf4Vectors& a, const Nf4Vectors& b) {
  return a.codes == b.codes && a.absmax == b.absmax && a.absmax2 == b.absmax2 && a.offset == b.offset &&
         a.zero_blocks == b.zero_blocks;
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

unsigned code_of(const Nf4Vectors& tensor, std::size_t element) {
  const unsigned byte = tensor.codes[element / 2];
  return element % 2 == 0 ? byte >> 4 : byte & 15u;
}

TEST(Nf4Golden, LevelsAndThresholds) {
  std::vector<float> levels;
  for (unsigned code = 0; code < 16; ++code) levels.push_back(nf4_level(code));
  EXPECT_EQ(sha256_of(levels.data(), 16), "8501941daa1b8a90ad1bbfeb632e5101b5dddbc4bb52d6e55abcfd777e60c06a");
  const std::uint32_t thresholds[15] = {0xbf591cd8, 0xbf1c5270, 0xbeeb8480, 0xbeadea76, 0xbe703cec,
                                        0xbe0d38bc, 0xbd3a7871, 0x3d22faff, 0x3df64862, 0x3e5067e0,
                                        0x3e9582d4, 0x3ec753f9, 0x3f006d04, 0x3f248daf, 0x3f5c89da};
  for (unsigned code = 0; code < 15; ++code) EXPECT_EQ(bits(nf4_threshold(code)), thresholds[code]) << code;
}

TEST(Nf4Golden, OneBlockOfTheLevels) {
  std::vector<float> values;
  for (int i = 0; i < 64; ++i) values.push_back(nf4_level(static_cast<unsigned>(i % 16)));
  const auto tensor = quantize_nf4(values, 1, 64);
  ASSERT_TRUE(tensor);
  const std::vector<std::uint8_t> row = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(tensor->codes[i], row[i % 8]);
  // One block: absmax equals its mean, so the second absmax is 0 and the scale comes back as the offset.
  EXPECT_EQ(tensor->absmax[0], 0);
  EXPECT_EQ(tensor->absmax2[0], 0.0f);
  EXPECT_EQ(nf4_block_scale(*tensor, 0), 1.0f);
  std::vector<float> back(64);
  dequantize_nf4(*tensor, 0, back);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(back[i], round_to_bf16(values[i]));
}

TEST(Nf4, ThresholdItselfTakesTheLowerCode) {
  std::vector<float> values(64, 0.0f);
  values[0] = 1.0f;
  for (unsigned code = 0; code < 15; ++code) {
    const float threshold = nf4_threshold(code);
    values[1 + 3 * code] = threshold;
    values[2 + 3 * code] = std::nextafter(threshold, 2.0f);
    values[3 + 3 * code] = std::nextafter(threshold, -2.0f);
  }
  const auto tensor = quantize_nf4(values, 1, 64);
  ASSERT_TRUE(tensor);
  for (unsigned code = 0; code < 15; ++code) {
    EXPECT_EQ(code_of(*tensor, 1 + 3 * code), code);
    EXPECT_EQ(code_of(*tensor, 2 + 3 * code), code + 1);
    EXPECT_EQ(code_of(*tensor, 3 + 3 * code), code);
  }
}

TEST(Nf4Golden, DoubleQuantizationOf32768Values) {
  const std::vector<Bf16> input = golden_input();
  ASSERT_EQ(sha256_of(input.data(), input.size()), "e861f2473e0a4307940d9e66ffc2bb5b8401c58bdf9de9c10b408d6e0f4320d0");
  const auto tensor = quantize_nf4(widen(input), 128, 256);
  ASSERT_TRUE(tensor);
  EXPECT_EQ(sha256_of(tensor->codes.data(), tensor->codes.size()),
            "48913b8f2d9e92fa9b123c254906a51a31b0eea03f25bfb2264e4c063b040978");
  EXPECT_EQ(bits(tensor->offset), 0x3bef7b00u);
  ASSERT_EQ(tensor->absmax2.size(), 2u);
  EXPECT_EQ(bits(tensor->absmax2[0]), 0x3b08f600u);
  EXPECT_EQ(bits(tensor->absmax2[1]), 0x3b54f600u);
  EXPECT_EQ(sha256_of(tensor->absmax.data(), 512), "5732257a0ccdf7b8f2ee49304dccb8876fdb7f1e41700d2470ceb0caf0c3cb25");
  std::vector<float> scales;
  for (std::int64_t block = 0; block < 512; ++block) scales.push_back(nf4_block_scale(*tensor, block));
  EXPECT_EQ(sha256_of(scales.data(), 512), "2a8540fc34a94a78c0699446b10f2a6e57640f580bd26893b0887b7451ab3db9");
  EXPECT_EQ(bits(scales[365]), 0x3bd51c24u) << "a fused multiply-add would give 3bd51c23";
  std::vector<float> back(input.size());
  dequantize_nf4(*tensor, 0, back);
  std::vector<Bf16> rounded;
  for (const float value : back) rounded.push_back(to_bf16(value));
  EXPECT_EQ(sha256_of(rounded.data(), rounded.size()),
            "c27d3a010c8173dd81dc621ac7a8ddc55574f247b488cb6cbbef5934a9791441");
}

TEST(Nf4Golden, BlockMaximaOf32768Values) {
  // The fp32 absmax are not kept; they are those of the formula, and quantizing them alone gives the same state.
  const std::vector<float> values = widen(golden_input());
  std::vector<float> absmax(512, 0.0f);
  for (std::size_t i = 0; i < values.size(); ++i) absmax[i / 64] = std::max(absmax[i / 64], std::fabs(values[i]));
  EXPECT_EQ(sha256_of(absmax.data(), 512), "0e95f092f4041a58da958a5663d4fd9df044afeba13bed52f3a33fab3b7628f2");
  Nf4Vectors state({128, 256});
  quantize_absmax(absmax, state.absmax.data(), state.absmax2.data());
  EXPECT_EQ(sha256_of(state.absmax.data(), 512), "5732257a0ccdf7b8f2ee49304dccb8876fdb7f1e41700d2470ceb0caf0c3cb25");
}

// The groups after the first are lost in a sum in fp32.
TEST(Nf4, OffsetOfTheScalesIsAMeanInDoublePrecision) {
  constexpr std::size_t kGroups = 65, kBlocks = kGroups * kNf4GroupSize;
  std::vector<float> absmax(kBlocks, 1.0f / kNf4GroupSize);
  std::fill_n(absmax.begin(), kNf4GroupSize, 0x1p24f / kNf4GroupSize);
  std::vector<std::uint8_t> codes(kBlocks);
  std::vector<float> absmax2(kGroups);
  EXPECT_EQ(quantize_absmax(absmax, codes.data(), absmax2.data()), static_cast<float>((0x1p24 + 64) / kBlocks));
}

TEST(Nf4, ChunksAndThreadsDoNotMatter) {
  const std::vector<float> values = random_values(640 * 1001, 3);
  const auto whole = quantize_nf4(values, 640, 1001, 1);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(same(*whole, *quantize_nf4(values, 640, 1001, 2)));
  ASSERT_TRUE(same(*whole, *quantize_nf4(values, 640, 1001, 7)));
  std::mt19937 random(5);
  Nf4Vectors in_chunks({640, 1001});
  Nf4Quantizer quantizer(in_chunks, 2);
  std::span<const float> rest(values);
  while (!rest.empty()) {
    const std::size_t chunk =
        std::min<std::size_t>(rest.size(), random() % 4 == 0 ? random() % 100000 : random() % 130);
    EXPECT_FALSE(quantizer.add(rest.first(chunk)));
    rest = rest.subspan(chunk);
  }
  const Nf4Findings findings = quantizer.finish();
  in_chunks.offset = findings.offset;
  in_chunks.zero_blocks = findings.zero_blocks;
  EXPECT_EQ(findings.first_bad_block, -1);
  EXPECT_TRUE(same(*whole, in_chunks));
}

// Values as a file holds them give the bytes of the same values as fp32, in chunks and on threads of any number.
TEST(Nf4, ValuesOf16BitsAreWidenedExactly) {
  constexpr std::int64_t kRows = 640, kCols = 1001, kCount = kRows * kCols;
  const std::vector<float> values = random_values(kCount, 4);
  for (const FileDType dtype : {FileDType::kBf16, FileDType::kF16}) {
    std::vector<std::uint16_t> stored(values.size());
    std::vector<float> rounded(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      stored[i] = dtype == FileDType::kBf16 ? to_bf16(values[i]).bits : float_to_half(values[i]);
      rounded[i] = dtype == FileDType::kBf16 ? to_float(Bf16{stored[i]}) : half_to_float(stored[i]);
    }
    const auto expected = quantize_nf4(rounded, kRows, kCols);
    ASSERT_TRUE(expected);
    const auto* bytes = reinterpret_cast<const std::byte*>(stored.data());
    for (const std::int64_t chunk : {kCount, std::int64_t{300000}, std::int64_t{131}}) {
      for (const int threads : {1, 2, 5}) {
        Nf4Vectors target({kRows, kCols});
        Nf4Quantizer quantizer(target, threads);
        for (std::int64_t at = 0; at < kCount; at += chunk) {
          ASSERT_FALSE(quantizer.add(dtype, bytes + 2 * at, std::min(chunk, kCount - at)));
        }
        const Nf4Findings findings = quantizer.finish();
        target.offset = findings.offset;
        target.zero_blocks = findings.zero_blocks;
        EXPECT_TRUE(same(*expected, target)) << dtype_name(dtype) << ", chunks of " << chunk;
      }
    }
    for (const std::size_t place : {std::size_t{0}, std::size_t{64} * 9000 + 5, values.size() - 1}) {
      std::vector<std::uint16_t> bad = stored;
      bad[place] = 0x7fff;  // NaN in both
      const Nf4Vectors target({kRows, kCols});
      EXPECT_EQ(Nf4Quantizer(target, 2).add(dtype, reinterpret_cast<const std::byte*>(bad.data()), kCount),
                static_cast<std::int64_t>(place));
    }
  }
}

TEST(Nf4, OddTailFillsItsLastNibbleLikeAZero) {
  const std::vector<float> values = random_values(64 + 5, 11);
  const auto tensor = quantize_nf4(values, 3, 23);
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->codes.size(), 35u);
  EXPECT_EQ(tensor->absmax.size(), 2u);
  EXPECT_EQ(tensor->codes.back() & 15u, 7u);
  std::vector<float> padded = values;
  padded.resize(128, 0.0f);
  const auto reference = quantize_nf4(padded, 1, 128);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(code_of(*tensor, i), code_of(*reference, i));
}

TEST(Nf4, ZeroAndSubnormalBlocksBecomeZeroBlocks) {
  constexpr float kSmallestNormal = std::numeric_limits<float>::min();
  std::vector<float> values(4 * 64, 0.0f);
  for (std::size_t i = 64; i < 128; ++i) values[i] = -kSmallestNormal / 2;
  for (std::size_t i = 128; i < 192; ++i) values[i] = kSmallestNormal;
  for (std::size_t i = 192; i < 256; ++i) values[i] = 1.0f;
  const auto tensor = quantize_nf4(values, 4, 64);
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->zero_blocks, 2);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(tensor->codes[i], 0x00);
  for (std::size_t i = 64; i < 128; ++i) EXPECT_EQ(tensor->codes[i], 0xff);
  const auto tail = quantize_nf4(std::vector<float>(5, 0.0f), 1, 5);
  EXPECT_EQ(tail->codes, (std::vector<std::uint8_t>{0, 0, 0}));
  EXPECT_EQ(tail->zero_blocks, 1);
}

TEST(Nf4, NonFiniteValueIsReportedWithItsIndex) {
  const std::size_t places[] = {0, 63, 64, 700, 9999, 64 * 9000 + 5, 640 * 1001 - 1};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : places) {
      std::vector<float> values = random_values(640 * 1001, 3);
      values[place] = bad;
      values.back() = bad;  // the first one counts
      for (const std::size_t chunk : {values.size(), std::size_t{1000}, std::size_t{37}}) {
        const Nf4Vectors target({640, 1001});
        Nf4Quantizer quantizer(target, 2);
        std::optional<std::int64_t> found;
        for (std::size_t start = 0; start < values.size() && !found; start += chunk) {
          found = quantizer.add(std::span(values).subspan(start, std::min(chunk, values.size() - start)));
        }
        ASSERT_TRUE(found);
        EXPECT_EQ(*found, static_cast<std::int64_t>(place));
      }
    }
  }
  EXPECT_FALSE(quantize_nf4(std::vector<float>{1.0f, std::numeric_limits<float>::infinity()}, 1, 2));
}

TEST(Nf4, DequantizesAnyRange) {
  const std::vector<float> values = random_values(300 * 70, 13);
  const auto tensor = quantize_nf4(values, 300, 70);
  std::vector<float> whole(values.size());
  dequantize_nf4(*tensor, 0, whole);
  std::vector<float> part(1234);
  dequantize_nf4(*tensor, 4567, part);
  for (std::size_t i = 0; i < part.size(); ++i) EXPECT_EQ(bits(part[i]), bits(whole[4567 + i]));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const float expected = nf4_level(code_of(*tensor, i)) * nf4_block_scale(*tensor, static_cast<std::int64_t>(i / 64));
    EXPECT_EQ(bits(whole[i]), bits(round_to_bf16(expected)));
    EXPECT_LE(std::fabs(whole[i] - values[i]),
              0.16f * nf4_block_scale(*tensor, static_cast<std::int64_t>(i / 64)) + 1e-3f);
  }
}

TEST(Nf4Layout, RoundsEverySizeUp) {
  const Nf4Layout odd{3, 23};  // 69 weights
  EXPECT_EQ(odd.codes(), 35);
  EXPECT_EQ(odd.blocks(), 2);
  EXPECT_EQ(odd.groups(), 1);
  const Nf4Layout exact{256, 64};
  EXPECT_EQ(exact.blocks(), 256);
  EXPECT_EQ(exact.groups(), 1);
  EXPECT_EQ((Nf4Layout{257, 64}).groups(), 2);
}

TEST(Nf4, FlatScalesAreUsedAsTheyAre) {
  Nf4Vectors weight({2, 64, false});
  weight.codes.assign(64, 0xf0);  // the levels 1 and -1
  weight.scales = {0.5f, 2.0f};
  std::vector<float> values(4);
  dequantize_nf4(weight, 62, values);
  EXPECT_EQ(values, (std::vector<float>{0.5f, -0.5f, 2.0f, -2.0f}));
}

TEST(DoubleQuantization, OffsetIsTheMeanInFixedOrderAndIndicesAreNearest) {
  std::mt19937 random(17);
  std::uniform_real_distribution<float> uniform(0.01f, 0.2f);
  std::vector<float> absmax(1000);
  for (float& value : absmax) value = uniform(random);
  Nf4Vectors state({1000, 64});
  state.offset = quantize_absmax(absmax, state.absmax.data(), state.absmax2.data());
  double sum = 0;
  for (const float value : absmax) sum += value;
  EXPECT_NEAR(state.offset, sum / 1000, 1e-7);
  ASSERT_EQ(state.absmax2.size(), 4u);
  const float* map = dynamic_map_signed();
  for (std::size_t i = 0; i < absmax.size(); ++i) {
    const float centred = absmax[i] - state.offset, scale = state.absmax2[i / 256];
    EXPECT_LE(std::fabs(centred), scale);
    const float chosen = std::fabs(map[state.absmax[i]] * scale - centred);
    for (int other = 0; other < 256; ++other) EXPECT_LE(chosen, std::fabs(map[other] * scale - centred) + 1e-8f);
  }
}

// A 7B model's weight has a million blocks, whose sum fp32 would round again and again.
TEST(Nf4, OffsetOfManyBlocksIsTheirMeanInDouble) {
  std::vector<float> absmax(1000 * kNf4GroupSize);
  double sum = 0;
  for (std::size_t i = 0; i < absmax.size(); ++i) sum += absmax[i] = 1.0f + 0x1p-20f * static_cast<float>(i % 977);
  std::vector<std::uint8_t> codes(absmax.size());
  std::vector<float> absmax2(1000);
  EXPECT_EQ(quantize_absmax(absmax, codes.data(), absmax2.data()),
            static_cast<float>(sum / static_cast<double>(absmax.size())));
}

}  // namespace
}  // namespace shori
