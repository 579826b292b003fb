// embed, gradient_norm, base_checksum, the workspace, and the exponential that softmax and silu share.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/rows.h"
#include "kernels/optimizer/grad_norm_launch.h"
#include "kernels/optimizer/map_search.h"
#include "shori/ops/base_checksum.h"
#include "shori/ops/embed.h"
#include "shori/ops/grad_norm.h"
#include "shori/quant/blockwise8.h"
#include "shori/quant/dynamic_map.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

TEST(Embed, CopiesRowsExactly) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const std::int64_t cols : {1, 15, 64}) {
      TestContext context;
      const Matrix table = random_matrix(dtype, 33, cols, 1, 1.0, 2);
      const std::vector<std::int32_t> ids{0, 32, 5, 5, 31};
      Matrix x(dtype, 5, cols, 7);
      embed(context, table, ids, x);
      const at::Tensor expected =
          table.tensor().index_select(0, at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())));
      EXPECT_TRUE(x.tensor().equal(expected));
    }
  }
}

TEST(Embed, IdsOutsideTheTableAreRefused) {
  TestContext context;
  const Matrix table(DType::kF32, 4, 2);
  Matrix x(DType::kF32, 1, 2);
  EXPECT_ANY_THROW(embed(context, table, std::vector<std::int32_t>{4}, x));
  EXPECT_ANY_THROW(embed(context, table, std::vector<std::int32_t>{-1}, x));
}

// The sum of the squares of one chunk, by its definition.
float chunk_sum(std::vector<float> squares) {
  squares.resize(kNormChunk, 0.0f);
  while (squares.size() > 1) {
    const std::size_t half = squares.size() / 2;
    for (std::size_t i = 0; i < half; ++i) squares[i] += squares[i + half];
    squares.resize(half);
  }
  return squares[0];
}

TEST(GradientNorm, FollowsTheFixedTree) {
  TestContext context;
  std::vector<Matrix> tensors;
  std::vector<GradientSpan> spans;
  double exact = 0.0, tree = 0.0;
  for (const std::int64_t count : {1, 15, 4095, 4096, 4097, 20000}) {
    tensors.push_back(random_matrix(DType::kF32, 1, count, static_cast<std::uint32_t>(count), 1e-3));
    const float* data = tensors.back().view().row<float>(0);
    spans.push_back({data, count});
    for (std::int64_t first = 0; first < count; first += kNormChunk) {
      std::vector<float> squares;
      for (std::int64_t i = first; i < std::min(count, first + kNormChunk); ++i) {
        squares.push_back(data[i] * data[i]);
        exact += static_cast<double>(data[i]) * static_cast<double>(data[i]);
      }
      tree += static_cast<double>(chunk_sum(squares));
    }
  }
  EXPECT_EQ(gradient_norm(context, spans), std::sqrt(tree));
  EXPECT_NEAR(gradient_norm(context, spans), std::sqrt(exact), 1e-7 * std::sqrt(exact));
  expect_same_bytes_for_threads([&] { return gradient_norm(context, spans); });
}

TEST(GradientNorm, AnyNonFiniteGradientShows) {
  TestContext context;
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0u, 4095u, 4096u, 9999u}) {
      std::vector<float> gradient(10000, 0.5f);
      gradient[place] = poison;
      const GradientSpan span{gradient.data(), 10000};
      EXPECT_FALSE(std::isfinite(gradient_norm(context, {&span, 1})));
    }
  }
  EXPECT_EQ(gradient_norm(context, {}), 0.0);
}

TEST(BaseChecksum, FollowsItsDefinition) {
  TestContext context;
  const auto mix = [](std::uint64_t z) {
    z ^= z >> 30;
    z *= 0xbf58476d1ce4e5b9;
    z ^= z >> 27;
    z *= 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  const unsigned char bytes[11] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const std::uint64_t expected = mix(0x0807060504030201 ^ mix(1)) + mix(0x0b0a09 ^ mix(2));
  EXPECT_EQ(base_checksum(context, bytes, 11), expected);
  EXPECT_EQ(base_checksum(context, bytes, 0), 0u);
}

TEST(BaseChecksum, FindsAnyFlippedBit) {
  TestContext context;
  for (const std::size_t size : {1u, 8u, 333u}) {
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
    const std::uint64_t before = base_checksum(context, bytes.data(), size);
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      EXPECT_NE(base_checksum(context, bytes.data(), size), before) << "bit " << bit;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    }
    EXPECT_EQ(base_checksum(context, bytes.data(), size), before);
  }
}

TEST(BaseChecksum, DependsOnPositionsAndNotOnThreads) {
  TestContext context;
  std::vector<std::uint64_t> words(1 << 19);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = i * i;
  const auto checksum = [&] { return base_checksum(context, words.data(), words.size() * 8); };
  expect_same_bytes_for_threads(checksum);
  const std::uint64_t before = checksum();
  std::swap(words[7], words[400000]);
  EXPECT_NE(checksum(), before);
}

TEST(Workspace, HandsOutAlignedMemoryAndTakesItBack) {
  Workspace workspace;
  {
    const WorkspaceFrame frame(workspace);
    auto* first = workspace.take_array<float>(3);
    auto* second = workspace.take_array<float>(1 << 20);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % 64, 0u);
    first[2] = 5.0f;
    second[(1 << 20) - 1] = 6.0f;
    void* inner = nullptr;
    {
      const WorkspaceFrame nested(workspace);
      inner = workspace.take(100);
    }
    EXPECT_EQ(workspace.take(100), inner) << "memory of an ended frame is handed out again";
    EXPECT_EQ(first[2], 5.0f);
  }
  EXPECT_EQ(workspace.used_bytes(), 0u);
  const std::size_t peak = workspace.peak_bytes();
  EXPECT_GE(peak, (std::size_t{1} << 22) + 12);
  const WorkspaceFrame frame(workspace);
  static_cast<char*>(workspace.take(peak))[peak - 1] = 1;
  EXPECT_EQ(workspace.peak_bytes(), peak);
}

TEST(Exponential, IsWithinOneUnitInTheLastPlace) {
  double worst = 0.0;
  for (int i = -873000; i < 887000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4f;
    float value = x;
    exp_shifted_row(1.0f, 0.0f, &value, 1);
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(value - exact) / std::ldexp(1.0, std::ilogb(exact) - 23));
  }
  EXPECT_LE(worst, 1.0);
  float edges[] = {0.0f,   std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), 89.0f,
                   -1e30f, std::numeric_limits<float>::quiet_NaN()};
  exp_shifted_row(1.0f, 0.0f, edges, 6);
  EXPECT_EQ(edges[0], 1.0f);
  EXPECT_EQ(edges[1], std::numeric_limits<float>::infinity());
  EXPECT_EQ(edges[2], 0.0f);
  EXPECT_EQ(edges[3], std::numeric_limits<float>::infinity());
  EXPECT_EQ(edges[4], 0.0f);
  EXPECT_TRUE(std::isnan(edges[5]));
}

TEST(MapSearch, EqualsNearestInMap) {
  for (const float* map : {dynamic_map_signed(), dynamic_map_unsigned()}) {
    const MapSearch search(map);
    const auto same = [&](float value) { return search.nearest(value) == nearest_in_map(map, value); };
    for (int code = 0; code < 255; ++code) {
      const float midpoint = (map[code] + map[code + 1]) * 0.5f;
      for (const float value : {map[code], map[code + 1], midpoint}) {
        EXPECT_TRUE(same(value) && same(std::nextafter(value, 2.0f)) && same(std::nextafter(value, -2.0f))) << code;
      }
    }
    std::uint32_t differing = 0;
    for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 4099) {
      differing += same(std::bit_cast<float>(static_cast<std::uint32_t>(bits))) ? 0 : 1;
    }
    EXPECT_EQ(differing, 0u);
  }
}

TEST(Rows, RoundingsEqualTheScalarOnes) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 0xffff0000u; bits += 0x1234567u / 64)
    values.push_back(std::bit_cast<float>(bits));
  std::vector<Bf16> narrowed(values.size());
  narrow_row(values.data(), narrowed.data(), static_cast<std::int64_t>(values.size()));
  std::vector<float> rounded = values;
  round_row(DType::kBf16, rounded.data(), static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(narrowed[i].bits, to_bf16(values[i]).bits);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(rounded[i]), std::bit_cast<std::uint32_t>(round_to_bf16(values[i])));
  }
}

TEST(Rows, MaximumKeepsNaN) {
  for (const std::size_t place : {0u, 15u, 16u, 18u}) {
    std::vector<float> values(19, -3.0f);
    values[place] = -1.0f;
    EXPECT_EQ(max_of_row(values.data(), 19), -1.0f);
    values[place] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(max_of_row(values.data(), 19)));
  }
}

}  // namespace
}  // namespace shori
