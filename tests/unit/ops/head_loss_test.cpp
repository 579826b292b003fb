#include "shori/ops/head_loss.h"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>

#include "shori/util/ignored_label.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

struct Case {
  const char* why;
  std::int64_t tokens, cols, vocabulary;
  DType dtype;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one token, two words", .tokens = 1, .cols = 8, .vocabulary = 2, .dtype = DType::kF32},
    {.why = "fewer tokens than a task takes", .tokens = 15, .cols = 64, .vocabulary = 512, .dtype = DType::kBf16},
    {.why = "odd hidden size", .tokens = 63, .cols = 33, .vocabulary = 1000, .dtype = DType::kF32},
    {.why = "a vocabulary of whole vectors and one word",
     .tokens = 64,
     .cols = 64,
     .vocabulary = 257,
     .dtype = DType::kBf16},
    {.why = "a vocabulary one word short of whole vectors",
     .tokens = 65,
     .cols = 128,
     .vocabulary = 511,
     .dtype = DType::kF32},
    {.why = "two tasks; two slabs of the vocabulary",
     .tokens = 200,
     .cols = 128,
     .vocabulary = 4000,
     .dtype = DType::kBf16},
    {.why = "Mistral's vocabulary", .tokens = 130, .cols = 64, .vocabulary = 32000, .dtype = DType::kF32},
};

class HeadLoss : public testing::TestWithParam<Case> {
 protected:
  static constexpr double kWeight = 0.125 / 3;  // a number that bf16 cannot represent
  const Case& shape = GetParam();
  TestContext context;
  Matrix h = random_matrix(shape.dtype, shape.tokens, shape.cols, 1, 1.0, 3);
  Matrix weight =
      random_matrix(shape.dtype, shape.vocabulary, shape.cols, 2, 2.0 / std::sqrt(static_cast<double>(shape.cols)));
  Matrix dh{shape.dtype, shape.tokens, shape.cols, 1};
  std::vector<std::int32_t> targets;
  std::vector<float> losses;

  void SetUp() override {
    std::mt19937 generator(3);
    for (std::int64_t i = 0; i < shape.tokens; ++i) {
      targets.push_back(i % 7 == 5 ? kIgnoredLabel : static_cast<std::int32_t>(generator() % shape.vocabulary));
    }
    losses.assign(targets.size(), -1.0f);
  }
  void run() { head_loss(context, h, weight, targets, kWeight, losses, dh.view()); }
  at::Tensor target_tensor() const { return at::tensor(std::vector<std::int64_t>(targets.begin(), targets.end())); }
  at::Tensor loss_tensor() const { return at::tensor(losses); }

  struct Expected {
    at::Tensor losses, dh;
  };
  Expected expected(at::ScalarType type) const {
    const at::Tensor leaf = h.tensor().to(type).requires_grad_();
    const at::Tensor logits = at::mm(leaf, weight.tensor().to(type).t());
    const at::Tensor wide = type == at::kDouble ? logits : logits.to(at::kFloat);
    const at::Tensor each = at::cross_entropy_loss(wide, target_tensor(), {}, at::Reduction::None, kIgnoredLabel);
    (each.sum() * kWeight).backward();
    return {each.detach(), leaf.grad()};
  }
  void expect_as_exact_as_the_framework() {
    run();
    const Expected exact = expected(at::kDouble), framework = expected(scalar_type(shape.dtype));
    expect_within_twice(loss_tensor(), framework.losses, exact.losses, "losses");
    expect_within_twice(dh.tensor(), framework.dh, exact.dh, "dh");
  }
};

TEST_P(HeadLoss, IsAsExactAsTheFramework) { expect_as_exact_as_the_framework(); }

TEST_P(HeadLoss, TilesAreAsExactAsTheFramework) {
  const TileOps tiles;
  if (shape.dtype == DType::kBf16) expect_as_exact_as_the_framework();
}

TEST_P(HeadLoss, TilesGiveTheSameBytesForThreads) {
  if (shape.dtype != DType::kBf16) return;
  const TileOps tiles;
  expect_same_bytes_for_threads([&] {
    run();
    return std::pair(losses, dh.bytes());
  });
  const std::vector<float> with_gradient = losses;
  head_loss(context, h, weight, targets, kWeight, losses, std::nullopt);
  EXPECT_EQ(losses, with_gradient);
}

TEST_P(HeadLoss, IgnoredRowsAreExactZeros) {
  run();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] != kIgnoredLabel) continue;
    EXPECT_EQ(losses[i], 0.0f);
    EXPECT_EQ(dh.tensor().select(0, static_cast<std::int64_t>(i)).count_nonzero().item<std::int64_t>(), 0);
  }
}

TEST_P(HeadLoss, LossesAreTheSameWithoutGradient) {
  run();
  const std::vector<float> with_gradient = losses;
  head_loss(context, h, weight, targets, kWeight, losses, std::nullopt);
  EXPECT_EQ(losses, with_gradient);
}

TEST_P(HeadLoss, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    run();
    return std::pair(losses, dh.bytes());
  });
}

TEST_P(HeadLoss, ReferenceAgrees) {
  run();
  const at::Tensor library_losses = loss_tensor().to(at::kDouble), library_dh = dh.doubles();
  const ReferenceOps reference;
  run();
  // Plain loops add up to 32,000 terms in one chain.
  const double bound = shape.dtype == DType::kBf16 ? 5e-3 : 1e-5;
  EXPECT_LE(l2_error(loss_tensor(), library_losses), bound * library_losses.norm().item<double>());
  EXPECT_LE(l2_error(dh.tensor(), library_dh), bound * library_dh.norm().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadLoss, testing::ValuesIn(kCases));

TEST(HeadLossMemory, NeverMoreThanOneChunkOfLogits) {
  const std::int64_t tokens = 3 * kLossChunk, vocabulary = 512, cols = 8;
  const Matrix h = random_matrix(DType::kF32, tokens, cols, 1),
               weight = random_matrix(DType::kF32, vocabulary, cols, 2);
  Matrix dh(DType::kF32, tokens, cols);
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(tokens), 3);
  std::vector<float> losses(targets.size());
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 64}) {
    at::set_num_threads(threads);
    TestContext context;
    head_loss(context, h, weight, targets, 1.0, losses, dh.view());
    const std::size_t chunk = static_cast<std::size_t>(kLossChunk * (vocabulary + cols)) * sizeof(float);
    constexpr std::size_t kRedZones = 2 * (kLossChunk / 128) * RedZones::kBytes;  // two arrays a worker
    EXPECT_LE(context.workspace.peak_bytes(), chunk + kRedZones) << threads << " threads";
  }
  at::set_num_threads(before);
}

TEST(HeadLossChecks, NonFiniteInputsShow) {
  TestContext context;
  for (const double poison : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Matrix h = random_matrix(DType::kBf16, 3, 8, 1);
    const Matrix weight = random_matrix(DType::kBf16, 64, 8, 2);
    at::Tensor values = h.doubles();
    values[1][4] = poison;
    h.set(values);
    std::vector<float> losses(3);
    Matrix dh(DType::kBf16, 3, 8);
    head_loss(context, h, weight, std::vector<std::int32_t>{1, 2, 3}, 1.0, losses, dh.view());
    EXPECT_TRUE(std::isfinite(losses[0]) && std::isfinite(losses[2]));
    EXPECT_FALSE(std::isfinite(losses[1]));
  }
}

TEST(HeadLossChecks, TargetsOutsideTheVocabularyAreRefused) {
  TestContext context;
  const Matrix h(DType::kF32, 1, 8), weight(DType::kF32, 16, 8);
  std::vector<float> losses(1);
  for (const std::int32_t target : {16, -1, -99}) {
    EXPECT_ANY_THROW(head_loss(context, h, weight, std::vector<std::int32_t>{target}, 1.0, losses, std::nullopt))
        << target;
  }
}

}  // namespace
}  // namespace shori
