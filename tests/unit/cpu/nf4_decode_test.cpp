#include "kernels/cpu/nf4_decode.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/nf4_block.h"
#include "tests/support/guarded.h"

namespace shori {
namespace {

const std::vector<float> kScales{
    0.0f, -0.0f, 1.0f, -0.37f, 1e-45f, -3e-39f, 1e-38f, 3e38f, -3.4e38f, 65504.0f, INFINITY, -INFINITY, NAN, 0.0123f,
    7.5e-5f,
    // Level 1 times these lies halfway between two values of bf16: ties go to the even one.
    std::bit_cast<float>(0x3f808000u), std::bit_cast<float>(0x3f818000u), std::bit_cast<float>(0xbd428000u)};

// Scales of test weights repeat the list; codes are random, and the first block of 16 bytes holds every pair of codes.
struct FlatWeight {
  FlatWeight(std::int64_t rows, std::int64_t cols)
      : codes(static_cast<std::size_t>((rows * cols + 1) / 2)),
        scales(static_cast<std::size_t>(nf4_blocks(rows * cols))) {
    std::mt19937 random(7);
    for (std::uint8_t& byte : codes.all()) byte = static_cast<std::uint8_t>(random());
    for (std::size_t i = 0; i < scales.all().size(); ++i) scales[i] = kScales[i % kScales.size()];
    view.layout = {rows, cols, false};
    view.codes = codes.data();
    view.scales = scales.data();
  }
  Guarded<std::uint8_t> codes;
  Guarded<float> scales;
  Nf4View view;
};

std::vector<float> expected(const Nf4View& view, std::int64_t first, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  dequantize_nf4(view, first, values);
  return values;
}

void expect_decoded(CpuIsa isa, const Nf4View& view, std::int64_t first, std::int64_t count) {
  const std::vector<float> values = expected(view, first, count);
  Guarded<float> wide(values.size());
  decode_nf4(isa, view, first, count, wide.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(values[i]))
        << name_of(isa) << " fp32, element " << first + static_cast<std::int64_t>(i);
  }
  Guarded<Bf16> narrow(values.size());
  decode_nf4(isa, view, first, count, narrow.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(narrow[i].bits, std::bit_cast<std::uint32_t>(values[i]) >> 16)
        << name_of(isa) << " bf16, element " << first + static_cast<std::int64_t>(i);
  }
}

std::vector<CpuIsa> sets_of_this_machine() {
  std::vector<CpuIsa> sets;
  for (int i = 0; i <= static_cast<int>(cpu_support().best); ++i) sets.push_back(static_cast<CpuIsa>(i));
  return sets;
}

TEST(Nf4Decode, GivesTheBitsOfTheDefinitionForEveryRun) {
  const FlatWeight weight(5, 211);  // rows begin inside blocks, at odd elements too; the last block is incomplete
  for (const CpuIsa isa : sets_of_this_machine()) {
    for (const std::int64_t first : {0, 1, 2, 63, 64, 65, 127, 211, 640, 1023, 1024, 1054}) {
      for (const std::int64_t count : {0, 1, 2, 31, 63, 64, 65, 128, 129, 211, 1055}) {
        if (first + count <= weight.view.layout.count()) expect_decoded(isa, weight.view, first, count);
      }
    }
  }
}

TEST(Nf4Decode, DecodesEveryCodeUnderEveryScale) {
  const auto blocks = static_cast<std::int64_t>(kScales.size());
  FlatWeight weight(blocks, kNf4BlockSize);
  for (std::size_t i = 0; i < weight.codes.all().size(); ++i) {
    const std::size_t byte = i % 32;  // both nibbles of the 32 bytes of a block take all 16 codes
    weight.codes[i] = static_cast<std::uint8_t>((byte % 16) << 4 | (byte < 16 ? 15 - byte : byte % 16));
  }
  for (const CpuIsa isa : sets_of_this_machine()) expect_decoded(isa, weight.view, 0, weight.view.layout.count());
}

TEST(Nf4Decode, DecodesNestedScales) {
  constexpr std::int64_t kRows = 40, kCols = 512;
  FlatWeight weight(kRows, kCols);
  std::vector<std::uint8_t> absmax(static_cast<std::size_t>(weight.view.layout.blocks()));
  for (std::size_t i = 0; i < absmax.size(); ++i) absmax[i] = static_cast<std::uint8_t>(i);
  std::vector<float> absmax2{0.7f, -12.5f};
  Nf4View nested = weight.view;
  nested.layout.nested = true;
  nested.absmax = absmax.data();
  nested.absmax2 = absmax2.data();
  nested.offset = 0.031f;
  for (const CpuIsa isa : sets_of_this_machine()) expect_decoded(isa, nested, 0, kRows * kCols);
}

// The bodies for AVX-512, compiled for this machine.
TEST(Nf4Decode, Has512BitBodiesThatGiveTheSameBits) {
  const auto blocks = static_cast<std::int64_t>(kScales.size());
  const FlatWeight weight(blocks, kNf4BlockSize);
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::uint8_t* codes = weight.codes.data() + block * (kNf4BlockSize / 2);
    const float scale = kScales[static_cast<std::size_t>(block)];
    const std::vector<float> values = expected(weight.view, block * kNf4BlockSize, kNf4BlockSize);
    Guarded<float> wide(kNf4BlockSize);
    decode_block_512(codes, scale, wide.data());
    Guarded<Bf16> narrow(kNf4BlockSize);
    decode_block_512(codes, scale, narrow.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(values[i])) << scale;
      ASSERT_EQ(narrow[i].bits, std::bit_cast<std::uint32_t>(values[i]) >> 16) << scale;
    }
  }
}

}  // namespace
}  // namespace shori
