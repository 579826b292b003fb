// NF4 quantization on the device: the bytes of the CPU version.
#include "shori/ops/nf4_quantize.h"

#include <cstring>
#include <limits>

#include "shori/io/half.h"
#include "shori/util/text.h"
#include "tests/support/device_test.h"
#include "tests/support/nf4_vectors.h"

namespace shori {
namespace {

// Values of a file, and the same widened.
struct Source {
  FileDType dtype;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

Source encode(FileDType dtype, const std::vector<float>& expected) {
  Source source{dtype, {}, {}};
  const auto append = [&](auto stored, float value) {
    const auto* first = reinterpret_cast<const std::byte*>(&stored);
    source.bytes.insert(source.bytes.end(), first, first + sizeof(stored));
    source.values.push_back(value);
  };
  for (const float value : expected) {
    if (dtype == FileDType::kBf16) {
      append(to_bf16(value), round_to_bf16(value));
    } else if (dtype == FileDType::kF16) {
      append(float_to_half(value), half_to_float(float_to_half(value)));
    } else {
      append(value, value);
    }
  }
  return source;
}

struct Quantized {
  std::vector<std::uint8_t> codes, absmax;
  std::vector<float> absmax2;
  Nf4Findings findings;
};

class Nf4QuantizeDevice : public testing::DeviceTest {
 protected:
  // Quantizes in chunks of `chunk` values.
  Quantized quantize(const Source& source, std::int64_t chunk) {
    const auto count = static_cast<std::int64_t>(source.values.size());
    const std::int64_t blocks = nf4_blocks(count), width = static_cast<std::int64_t>(dtype_size(source.dtype));
    const DeviceArray<std::uint8_t> codes(static_cast<std::size_t>(count / 2));
    const DeviceArray<float> block_absmax(static_cast<std::size_t>(blocks));
    const OpContext context = device(nf4_quantize_workspace_bytes(blocks));
    for (std::int64_t first = 0; first < count; first += chunk) {
      const std::int64_t here = std::min(chunk, count - first);
      const auto begin = source.bytes.begin() + first * width;
      const DeviceArray<std::byte> values(std::vector<std::byte>(begin, begin + here * width));
      nf4_quantize(context, source.dtype, values.get(), here, codes.get() + first / 2,
                   block_absmax.get() + first / kNf4BlockSize);
    }
    return finish(context, codes.to_host(), block_absmax);
  }
  Quantized finish(const OpContext& context, std::vector<std::uint8_t> codes, const DeviceArray<float>& block_absmax) {
    const std::size_t blocks = block_absmax.size();
    const DeviceArray<std::uint8_t> absmax(blocks);
    const DeviceArray<float> absmax2(static_cast<std::size_t>(nf4_groups(static_cast<std::int64_t>(blocks))));
    const DeviceArray<Nf4Findings> findings(1);
    nf4_quantize_absmax(context, block_absmax.get(), static_cast<std::int64_t>(blocks), absmax.get(), absmax2.get(),
                        findings.get());
    EXPECT_LE(device_workspace().peak_bytes(), nf4_quantize_workspace_bytes(static_cast<std::int64_t>(blocks)));
    return {std::move(codes), absmax.to_host(), absmax2.to_host(), findings.to_host().front()};
  }
};

void expect_same(const Quantized& got, const Nf4Vectors& expected) {
  ASSERT_EQ(got.codes, expected.codes);
  ASSERT_EQ(got.absmax, expected.absmax);
  ASSERT_EQ(got.absmax2.size(), expected.absmax2.size());
  ASSERT_EQ(std::memcmp(got.absmax2.data(), expected.absmax2.data(), expected.absmax2.size() * sizeof(float)), 0);
  ASSERT_EQ(std::bit_cast<std::uint32_t>(got.findings.offset), std::bit_cast<std::uint32_t>(expected.offset));
  ASSERT_EQ(got.findings.zero_blocks, expected.zero_blocks);
  ASSERT_EQ(got.findings.first_bad_block, -1);
}

// Weights of ordinary size, with blocks of zeros, of subnormal and of very large numbers, and of values on the thresholds.
std::vector<float> hard_values(std::size_t count) {
  std::vector<float> values = testing::normal_values(count, 11, 0.04f);
  const auto fill_block = [&](std::size_t block, auto&& value) {
    for (std::size_t i = 0; i < 64 && block * 64 + i < count; ++i) values[block * 64 + i] = value(i);
  };
  fill_block(1, [](std::size_t) { return 0.0f; });
  fill_block(2, [](std::size_t i) { return i % 2 == 0 ? 1e-40f : -0.0f; });
  fill_block(3, [](std::size_t i) { return i == 0 ? 1.0f : nf4_threshold(static_cast<unsigned>(i % 15)); });
  fill_block(4, [](std::size_t i) { return i == 5 ? -6e4f : 3e4f / static_cast<float>(i + 1); });
  fill_block(5, [](std::size_t i) { return i == 63 ? std::numeric_limits<float>::min() : 1e-39f; });
  return values;
}

struct Case {
  const char* why;
  std::int64_t rows, cols, chunk;
};

TEST_F(Nf4QuantizeDevice, BytesAreThoseOfTheCpu) {
  for (const FileDType dtype : {FileDType::kBf16, FileDType::kF16, FileDType::kF32}) {
    for (const auto& [why, rows, cols, chunk] :
         {Case{.why = "one vector of one cut block", .rows = 1, .cols = 8, .chunk = 64},
          Case{.why = "blocks that cross rows; a cut last block", .rows = 3, .cols = 72, .chunk = 128},
          Case{.why = "many chunks", .rows = 40, .cols = 1032, .chunk = 4096},
          Case{.why = "one chunk of many thread blocks", .rows = 64, .cols = 512, .chunk = 64 * 512}}) {
      SCOPED_TRACE(concat(dtype_name(dtype), ", ", why));
      const Source source = encode(dtype, hard_values(static_cast<std::size_t>(rows * cols)));
      const Nf4Vectors expected = *quantize_nf4(source.values, rows, cols);
      for_each_schedule([&] { expect_same(quantize(source, chunk), expected); });
    }
  }
}

TEST_F(Nf4QuantizeDevice, DoubleQuantizationOfManyBlocks) {
  // Around a group of 256 blocks, and more groups than one round of the second kernel takes.
  for (const std::size_t blocks : {1u, 255u, 256u, 257u, 70001u}) {
    SCOPED_TRACE(blocks);
    std::vector<float> block_absmax = testing::normal_values(blocks, 12, 0.05f);
    for (float& value : block_absmax) value = std::fabs(value);
    Nf4Vectors expected({static_cast<std::int64_t>(blocks), kNf4BlockSize});
    expected.codes.clear();
    expected.offset = quantize_absmax(block_absmax, expected.absmax.data(), expected.absmax2.data());
    const DeviceArray<float> device_absmax(block_absmax);
    for_each_schedule([&] {
      expect_same(finish(device(nf4_quantize_workspace_bytes(static_cast<std::int64_t>(blocks))), {}, device_absmax),
                  expected);
    });
  }
}

TEST_F(Nf4QuantizeDevice, FindsTheFirstBlockThatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const FileDType dtype : {FileDType::kBf16, FileDType::kF16, FileDType::kF32}) {
      std::vector<float> values = hard_values(64 * 600);
      values[64 * 299 + 63] = bad;
      values[64 * 599] = bad;
      EXPECT_EQ(quantize(encode(dtype, values), 64 * 600).findings.first_bad_block, 299);
    }
  }
}

}  // namespace
}  // namespace shori
