#include "shori/ops/rope.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <ostream>

#include "shori/util/hash.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

struct Case {
  const char* why;
  std::int64_t tokens, heads, head_dim;
  DType dtype;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one pair", .tokens = 1, .heads = 1, .head_dim = 2, .dtype = DType::kF32},
    {.why = "an odd number of pairs", .tokens = 15, .heads = 3, .head_dim = 6, .dtype = DType::kBf16},
    {.why = "positions that repeat", .tokens = 65, .heads = 2, .head_dim = 32, .dtype = DType::kF32},
    {.why = "Mistral's head size", .tokens = 130, .heads = 6, .head_dim = 128, .dtype = DType::kBf16},
};

constexpr double kTheta = 1e6;  // Mistral's

at::Tensor table_tensor(const RopeTable& table, const std::vector<std::byte>& values) {
  return at::from_blob(const_cast<std::byte*>(values.data()), {table.positions, table.half},
                       at::TensorOptions(scalar_type(table.dtype)))
      .clone();
}

class Rope : public testing::TestWithParam<Case> {
 protected:
  const Case& shape = GetParam();
  TestContext context;
  RopeTable table = make_rope_table(shape.dtype, 4096, shape.head_dim, kTheta);
  const Matrix original = random_matrix(shape.dtype, shape.tokens, shape.heads* shape.head_dim, 1, 1.0, 8);
  Matrix heads = original;
  std::vector<std::int32_t> positions;

  void SetUp() override {
    for (std::int64_t i = 0; i < shape.tokens; ++i) positions.push_back(static_cast<std::int32_t>(i % 64 * 61));
  }
  // transformers' apply_rotary_pos_emb in the type of `x` [T, n D].
  at::Tensor rotated(const at::Tensor& x, bool inverse) const {
    const at::Tensor index = at::tensor(std::vector<std::int64_t>(positions.begin(), positions.end()));
    const auto both_halves = [&](const std::vector<std::byte>& values) {
      const at::Tensor rows = table_tensor(table, values).to(x.scalar_type()).index_select(0, index);
      return at::cat({rows, rows}, 1).unsqueeze(1);
    };
    const at::Tensor cos = both_halves(table.cos), sin = both_halves(table.sin) * (inverse ? -1.0 : 1.0);
    const at::Tensor q = x.reshape({shape.tokens, shape.heads, shape.head_dim});
    const at::Tensor half = at::cat({-q.narrow(2, table.half, table.half), q.narrow(2, 0, table.half)}, 2);
    return ((q * cos) + (half * sin)).reshape({shape.tokens, -1});
  }
};

TEST_P(Rope, EqualsTheFrameworkToTheBit) {
  rope(context, table, positions, false, heads);
  EXPECT_TRUE(heads.tensor().equal(rotated(original.tensor(), false)));
}

TEST_P(Rope, InverseIsTheGradient) {
  rope(context, table, positions, true, heads);
  EXPECT_TRUE(heads.tensor().equal(rotated(original.tensor(), true)));
  const at::Tensor leaf = at::zeros_like(original.doubles()).requires_grad_();
  rotated(leaf, false).backward(original.doubles());
  EXPECT_LE(l2_error(heads.tensor(), leaf.grad()), 6e-3 * leaf.grad().norm().item<double>());
}

TEST_P(Rope, TablesAreTheRoundedCosinesOfTheRoundedAngle) {
  const std::vector<float> frequencies = rope_inverse_frequencies(shape.head_dim, kTheta);
  for (const std::int64_t position : {0, 1, 63, 4095}) {
    for (std::int64_t k = 0; k < table.half; ++k) {
      const double angle = static_cast<float>(position) * frequencies[static_cast<std::size_t>(k)];
      const double step = shape.dtype == DType::kBf16 ? std::ldexp(1.0, -9) : std::ldexp(1.0, -25);
      EXPECT_NEAR(table_tensor(table, table.cos)[position][k].item<double>(), std::cos(angle), step);
      EXPECT_NEAR(table_tensor(table, table.sin)[position][k].item<double>(), std::sin(angle), step);
    }
  }
}

TEST_P(Rope, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    heads = original;
    rope(context, table, positions, false, heads);
    return heads.bytes();
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Rope, testing::ValuesIn(kCases));

TEST(RopeFrequencies, GoldenForMistral) {
  const std::vector<float> frequencies = rope_inverse_frequencies(128, kTheta);
  ASSERT_EQ(frequencies.size(), 64u);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(frequencies[37]), 0x39b229fau);
  EXPECT_EQ(to_hex(frequencies.data(), 4), "0000803f");
  EXPECT_EQ(to_hex(sha256(frequencies.data(), 256)).substr(0, 16), "237f29de846b1669");
}

TEST(RopeChecks, PositionsBeyondTheTableAreRefused) {
  TestContext context;
  const RopeTable table = make_rope_table(DType::kF32, 8, 4, 1e4);
  Matrix heads(DType::kF32, 1, 4), odd(DType::kF32, 1, 6);
  EXPECT_ANY_THROW(rope(context, table, std::vector<std::int32_t>{8}, false, heads));
  EXPECT_ANY_THROW(rope(context, table, std::vector<std::int32_t>{-1}, false, heads));
  EXPECT_ANY_THROW(rope(context, table, std::vector<std::int32_t>{0}, false, odd));
  EXPECT_NO_THROW(rope(context, table, std::vector<std::int32_t>{7}, false, heads));
}

}  // namespace
}  // namespace shori
