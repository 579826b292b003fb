#include "shori/ops/swiglu.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/ops_linear.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

struct Case {
  const char* why;
  std::int64_t tokens, cols;
  DType dtype;
  bool lora = false;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one element", .tokens = 1, .cols = 1, .dtype = DType::kF32},
    {.why = "fewer columns than lanes", .tokens = 3, .cols = 15, .dtype = DType::kBf16, .lora = true},
    {.why = "whole vectors of lanes", .tokens = 63, .cols = 64, .dtype = DType::kF32, .lora = true},
    {.why = "odd width, no LoRA", .tokens = 65, .cols = 63, .dtype = DType::kBf16},
    {.why = "several tasks", .tokens = 130, .cols = 448, .dtype = DType::kBf16, .lora = true},
    {.why = "one whole task of the backward, a cut vector of lanes",
     .tokens = 64,
     .cols = 450,
     .dtype = DType::kF32,
     .lora = true},
};

at::Tensor product(const at::Tensor& gate_up) {
  const std::int64_t cols = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, cols)) * gate_up.narrow(1, cols, cols);
}

class Swiglu : public testing::TestWithParam<Case> {
 protected:
  static constexpr std::int64_t kRank = 6;
  const Case& shape = GetParam();
  TestContext context;
  const Matrix gate_up = random_matrix(shape.dtype, shape.tokens, 2 * shape.cols, 1, 3.0);
  Matrix p{shape.dtype, shape.tokens, shape.cols, 32};
  Matrix gradient;
  TestGroup linears{shape.dtype, shape.cols, kRank, {{kDown, 16}}, WeightKind::kBf16, 50};
  DropoutKey dropout{.seed = 4, .step = 9, .layer = 1, .first_token = 4096, .probability = 0.2f};
  Matrix dp =
      random_matrix(shape.dtype, shape.tokens, shape.cols + (shape.lora ? linears.group().lora_columns() : 0), 2);

  void run() {
    swiglu(context, gate_up, p);
    gradient = gate_up;
    swiglu_backward(context, dp,
                    shape.lora ? std::optional(LoraInputGradient{&linears.group(), dropout}) : std::nullopt, gradient);
  }
  at::Tensor expected_gradient(at::ScalarType type) const {
    at::Tensor whole = dp.doubles().narrow(1, 0, shape.cols).clone();
    if (shape.lora) {
      const at::Tensor mask = dropout_mask(dropout, kDown, shape.tokens, shape.cols);
      whole += mask * at::mm(dp.doubles().narrow(1, shape.cols, kRank), linears.a(0));
    }
    const at::Tensor leaf = gate_up.tensor().to(type).requires_grad_();
    product(leaf).backward(whole.to(type));
    return leaf.grad();
  }
};

TEST_P(Swiglu, IsAsExactAsTheFramework) {
  run();
  expect_within_twice(p.tensor(), product(gate_up.tensor()), product(gate_up.doubles()), "p");
  expect_within_twice(gradient.tensor(), expected_gradient(scalar_type(shape.dtype)), expected_gradient(at::kDouble),
                      "gradient");
}

TEST_P(Swiglu, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    run();
    return std::pair(p.bytes(), gradient.bytes());
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Swiglu, testing::ValuesIn(kCases));

TEST(SwigluRange, LargeGatesNeitherOverflowNorVanish) {
  TestContext context;
  Matrix gate_up(DType::kF32, 1, 12), p(DType::kF32, 1, 6), dp(DType::kF32, 1, 6);
  gate_up.set(at::tensor({-1e30, -200.0, -88.0, 88.0, 200.0, 1e30, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}, at::kDouble)
                  .reshape({1, 12}));
  dp.set(at::ones({1, 6}, at::kDouble));
  swiglu(context, gate_up, p);
  const at::Tensor exact = product(gate_up.doubles());
  EXPECT_LE((p.doubles() - exact).abs().div(exact.abs() + 1e-30).max().item<double>(), 1e-6);
  swiglu_backward(context, dp, std::nullopt, gate_up);
  EXPECT_TRUE(gate_up.tensor().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace shori
