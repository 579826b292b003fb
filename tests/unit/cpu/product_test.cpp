#include "kernels/cpu/product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/product_kernel.h"
#include "shori/ops/cpu_isa.h"
#include "tests/support/guarded.h"
#include "tests/unit/cpu/plain_tiles.h"

namespace shori {
namespace {

struct Shape {
  std::int64_t rows, cols, k;
};

// Random operands of a product, plain and packed. Each array ends at a guard page.
struct Operands {
  explicit Operands(Shape size, double tiny = 0)
      : shape(size),
        a(static_cast<std::size_t>(size.rows * size.k)),
        b(static_cast<std::size_t>(size.k * size.cols)),
        transposed(static_cast<std::size_t>(size.k * size.cols)),
        left(static_cast<std::size_t>(packed_elements(size.k, size.rows))),
        right(static_cast<std::size_t>(packed_elements(size.k, size.cols))) {
    std::mt19937 random(static_cast<std::uint32_t>(size.rows * 7919 + size.cols * 104729 + size.k));
    std::normal_distribution<float> normal;
    const auto value = [&] { return to_bf16(normal(random) * static_cast<float>(tiny > 0 ? tiny : 1.0)); };
    for (Bf16& element : a.all()) element = value();
    for (std::int64_t i = 0; i < shape.k; ++i) {
      for (std::int64_t j = 0; j < shape.cols; ++j) {
        const Bf16 element = value();
        b[static_cast<std::size_t>(i * shape.cols + j)] = element;
        transposed[static_cast<std::size_t>(j * shape.k + i)] = element;
      }
    }
    pack();
  }
  void pack() {
    for (std::int64_t row = 0; row < shape.rows; row += kLeftRows) {
      pack_left_rows(a.data() + row * shape.k, shape.k, std::min(kLeftRows, shape.rows - row), shape.k,
                     left.data() + row * padded(shape.k));
    }
    for (std::int64_t col = 0; col < shape.cols; col += kPanelColumns) {
      pack_panel(b.data() + col, shape.cols, shape.k, std::min(kPanelColumns, shape.cols - col),
                 right.data() + col * padded(shape.k));
    }
  }
  TileProduct product(float* c, Sum sum) const {
    return {left.data(), padded(shape.k), right.data(), padded(shape.k), shape.rows, shape.k, shape.cols,
            c,           shape.cols,      sum};
  }
  float sum_of(std::int64_t row, std::int64_t col, float start) const {
    return sum_in_tile_order(
        shape.k, [&](std::int64_t k) { return to_float(a.data()[row * shape.k + k]); },
        [&](std::int64_t k) { return to_float(b.data()[k * shape.cols + col]); }, start);
  }

  Shape shape;
  Guarded<Bf16> a, b, transposed, left, right;
};

std::vector<Shape> shapes() {
  std::vector<Shape> list;
  for (const std::int64_t rows : {1, 15, 16, 17, 33, 70}) {
    for (const std::int64_t cols : {1, 15, 17, 32, 33, 70}) {
      for (const std::int64_t k : {1, 2, 31, 33, 64, 97, 200}) list.push_back({rows, cols, k});
    }
  }
  list.push_back({3, 33, 2112});
  list.push_back({33, 2, 5664});
  return list;
}

std::string text_of(const Shape& shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.cols) + ", k " + std::to_string(shape.k);
}

// `run` multiplies; c is compared with the loops of product_order.h byte for byte.
template <typename Run>
void expect_tile_order(const Operands& operands, Sum sum, const Run& run, const char* name) {
  const Shape& shape = operands.shape;
  Guarded<float> c(static_cast<std::size_t>(shape.rows * shape.cols));
  for (std::size_t i = 0; i < c.all().size(); ++i) c[i] = 0.25f * static_cast<float>(i % 11) - 1.0f;
  const std::vector<float> before(c.all().begin(), c.all().end());
  run(operands.product(c.data(), sum));
  for (std::int64_t i = 0; i < shape.rows; ++i) {
    for (std::int64_t j = 0; j < shape.cols; ++j) {
      const auto at = static_cast<std::size_t>(i * shape.cols + j);
      const float exact = operands.sum_of(i, j, sum == Sum::kAdd ? before[at] : 0.0f);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(c[at]), std::bit_cast<std::uint32_t>(exact))
          << name << ", " << text_of(shape) << ", row " << i << ", column " << j;
    }
  }
}

void run_in_loops(const TileProduct& product) {
  setenv("SHORI_OPS", "reference", 1);
  multiply(product);
  unsetenv("SHORI_OPS");
}
void run_on_plain_tiles(const TileProduct& product) {
  PlainTiles tiles;
  multiply_by(tiles, product);
}

void expect_tile_order(const Operands& operands) {
  for (const Sum sum : {Sum::kReplace, Sum::kAdd}) {
    expect_tile_order(operands, sum, run_in_loops, "loops");
    expect_tile_order(operands, sum, run_on_plain_tiles, "kernel on plain tiles");
    if (cpu_support().best == CpuIsa::kAmx) expect_tile_order(operands, sum, multiply, "kernel on AMX");
  }
}

TEST(TileProduct, AddsInTheOrderOfItsDefinition) {
  for (const Shape& shape : shapes()) expect_tile_order(Operands(shape));
}

// Products near the smallest normal number: operands, sums or both are denormal.
TEST(TileProduct, ReadsAndWritesDenormalsAsZero) {
  for (const double tiny : {1e-19, 3e-20, 1e-38, 3e-39}) expect_tile_order(Operands({17, 33, 70}, tiny));
}

TEST(TileProduct, KeepsInfinityAndNan) {
  Operands operands({16, 16, 64});
  operands.a[5] = to_bf16(INFINITY);
  operands.a[3 * 64 + 1] = to_bf16(NAN);
  operands.pack();
  std::vector<float> c(256);
  for (const auto& run : {run_in_loops, run_on_plain_tiles}) {
    run(operands.product(c.data(), Sum::kReplace));
    for (std::size_t col = 0; col < 16; ++col) {
      EXPECT_FALSE(std::isfinite(c[col]));
      EXPECT_TRUE(std::isnan(c[3 * 16 + col]));
      EXPECT_TRUE(std::isfinite(c[16 + col]));
    }
  }
}

// A kernel that adds in any other order must not pass: the order of a plain loop gives other bits in many sums.
TEST(TileProduct, HasAnOrderThatDiffersFromAPlainSum) {
  const Operands operands({64, 64, 512});
  int same = 0;
  for (std::int64_t i = 0; i < 64; ++i) {
    for (std::int64_t j = 0; j < 64; ++j) {
      float plain = 0;
      for (std::int64_t k = 0; k < 512; ++k) {
        plain = std::fma(to_float(operands.a.data()[i * 512 + k]), to_float(operands.b.data()[k * 64 + j]), plain);
      }
      same += plain == operands.sum_of(i, j, 0.0f) ? 1 : 0;
    }
  }
  EXPECT_LT(same, 64 * 64 * 7 / 10);
}

TEST(TileProduct, GivesTheSameBitsInTwoPartsOfK) {
  const Operands whole({33, 48, 160});
  std::vector<float> expected(33 * 48), sums(33 * 48);
  run_on_plain_tiles(whole.product(expected.data(), Sum::kReplace));
  for (const std::int64_t cut : {32, 64, 96, 128}) {
    for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, cut}, {cut, 160 - cut}}) {
      std::vector<Bf16> right(static_cast<std::size_t>(packed_elements(count, 48)));
      for (std::int64_t col = 0; col < 48; col += kPanelColumns) {
        pack_panel(whole.b.data() + first * 48 + col, 48, count, std::min<std::int64_t>(kPanelColumns, 48 - col),
                   right.data() + col * count);
      }
      run_on_plain_tiles({whole.left.data() + first * kStripRows, 160, right.data(), count, 33, count, 48, sums.data(),
                          48, first == 0 ? Sum::kReplace : Sum::kAdd});
    }
    EXPECT_EQ(std::memcmp(sums.data(), expected.data(), sums.size() * sizeof(float)), 0) << cut;
  }
}

// A left operand from its transpose is the same bytes as from itself.
TEST(TileProductPacking, PacksLeftRowsFromTheirTranspose) {
  for (const Shape& shape : shapes()) {
    if (shape.cols > 1) continue;
    const Operands operands(shape);
    Guarded<Bf16> transposed(operands.a.size());
    for (std::int64_t i = 0; i < shape.rows; ++i) {
      for (std::int64_t k = 0; k < shape.k; ++k) {
        transposed[static_cast<std::size_t>(k * shape.rows + i)] = operands.a.data()[i * shape.k + k];
      }
    }
    Guarded<Bf16> left(operands.left.size());
    for (std::int64_t row = 0; row < shape.rows; row += kLeftRows) {
      pack_left_rows_of_transposed(transposed.data() + row, shape.rows, std::min(kLeftRows, shape.rows - row), shape.k,
                                   left.data() + row * padded(shape.k));
    }
    ASSERT_TRUE(std::equal(left.all().begin(), left.all().end(), operands.left.data())) << text_of(shape);
  }
}

// Both ways to pack b, against the layout that product_pack.h describes.
TEST(TileProductPacking, FollowsTheLayoutAndPadsWithZeros) {
  for (const Shape& shape : shapes()) {
    if (shape.rows > 1) continue;
    const Operands operands(shape);
    const std::int64_t depth = padded(shape.k);
    std::vector<Bf16> from_transposed(static_cast<std::size_t>(packed_elements(shape.k, shape.cols)), Bf16{0x7fff});
    for (std::int64_t col = 0; col < shape.cols; col += kPanelColumns) {
      pack_panel_of_transposed(operands.transposed.data() + col * shape.k, shape.k, shape.k,
                               std::min(kPanelColumns, shape.cols - col), from_transposed.data() + col * depth);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t col = 0; col < padded(shape.cols); ++col) {
        const std::int64_t at =
            col / 32 * depth * 32 + k / 32 * 1024 + col % 32 / 16 * 512 + k % 32 / 2 * 32 + col % 16 * 2 + k % 2;
        const bool inside = k < shape.k && col < shape.cols;
        const Bf16 value = inside ? operands.b.data()[k * shape.cols + col] : Bf16{0};
        ASSERT_EQ(operands.right.data()[at].bits, value.bits) << text_of(shape);
        ASSERT_EQ(from_transposed[static_cast<std::size_t>(at)].bits, value.bits) << text_of(shape);
      }
    }
  }
}

}  // namespace
}  // namespace shori
