#include "shori/ops/rms_norm.h"

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
  bool delta = false, lora = false;
  float probability = 0.0f;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one element", .tokens = 1, .cols = 1, .dtype = DType::kF32},
    {.why = "fewer columns than lanes, with delta", .tokens = 3, .cols = 15, .dtype = DType::kBf16, .delta = true},
    {.why = "odd width, LoRA without dropout",
     .tokens = 7,
     .cols = 63,
     .dtype = DType::kF32,
     .delta = true,
     .lora = true},
    {.why = "one whole task of the backward, no delta",
     .tokens = 64,
     .cols = 64,
     .dtype = DType::kBf16,
     .lora = true,
     .probability = 0.1f},
    {.why = "one token more than a task",
     .tokens = 65,
     .cols = 65,
     .dtype = DType::kF32,
     .delta = true,
     .lora = true,
     .probability = 0.1f},
    {.why = "three tasks, columns that are no multiple of 64",
     .tokens = 130,
     .cols = 200,
     .dtype = DType::kBf16,
     .delta = true,
     .lora = true,
     .probability = 0.3f},
    {.why = "Mistral's hidden size", .tokens = 2, .cols = 4096, .dtype = DType::kBf16},
    {.why = "every second value dropped",
     .tokens = 33,
     .cols = 256,
     .dtype = DType::kF32,
     .lora = true,
     .probability = 0.5f},
};

constexpr float kEps = 1e-5f;

// The chain of operations of transformers, in the type of h.
at::Tensor norm(const at::Tensor& h, const at::Tensor& weight) {
  const at::Tensor wide = h.scalar_type() == at::kDouble ? h : h.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt((wide * wide).mean(-1, true) + static_cast<double>(kEps));
  return weight * scaled.to(h.scalar_type());
}

class RmsNorm : public testing::TestWithParam<Case> {
 protected:
  static constexpr std::int64_t kRank = 5;
  const Case& shape = GetParam();
  TestContext context;
  Matrix x = random_matrix(shape.dtype, shape.tokens, shape.cols, 1, 2.0, 3);
  Matrix delta = random_matrix(shape.dtype, shape.tokens, shape.cols, 2);
  Matrix weight = random_matrix(shape.dtype, 1, shape.cols, 3, 0.5);
  Matrix residual = random_matrix(shape.dtype, shape.tokens, shape.cols, 4);
  Matrix h{shape.dtype, shape.tokens, shape.cols};
  Matrix y{shape.dtype, shape.tokens, shape.cols, 32};
  Matrix dh{shape.dtype, shape.tokens, shape.cols, 5};
  TestGroup linears{shape.dtype, shape.cols, kRank, {{kQ, 8}, {kK, 4, kNoLora}, {kV, 4}}, WeightKind::kBf16, 50};
  DropoutKey dropout{
      .seed = 99, .step = 3, .micro_batch = 1, .layer = 2, .first_token = 7, .probability = shape.probability};
  Matrix dy =
      random_matrix(shape.dtype, shape.tokens, shape.cols + (shape.lora ? linears.group().lora_columns() : 0), 5);

  void forward() {
    rms_norm(context, x, shape.delta ? std::optional<ConstTensorView>(delta) : std::nullopt, h.view(), weight, kEps, y);
  }
  std::optional<LoraInputGradient> lora() const {
    return shape.lora ? std::optional(LoraInputGradient{&linears.group(), dropout}) : std::nullopt;
  }
  void backward() { rms_norm_backward(context, x, weight, kEps, dy, lora(), residual.view(), dh); }
  // Gradient of the norm's output with the LoRA parts, fp64.
  at::Tensor whole_dy() const {
    const at::Tensor fused = dy.doubles();
    at::Tensor sum = fused.narrow(1, 0, shape.cols).clone();
    if (!shape.lora) return sum;
    for (const LinearModule& module : linears.group().modules) {
      if (!module.has_lora()) continue;
      const at::Tensor mask = dropout_mask(dropout, module.linear, shape.tokens, shape.cols);
      const at::Tensor dxa = fused.narrow(1, shape.cols + kRank * module.lora_index, kRank);
      sum += mask * at::mm(dxa, linears.a(index_of(module.linear)));
    }
    return sum;
  }
};

TEST_P(RmsNorm, ForwardIsAsExactAsTheFramework) {
  forward();
  const at::Tensor sum = shape.delta ? x.tensor() + delta.tensor() : x.tensor();
  EXPECT_TRUE(h.tensor().equal(sum)) << "the residual add is one rounding";
  expect_within_twice(y.tensor(), norm(h.tensor(), weight.tensor()), norm(h.doubles(), weight.doubles()), "y");
}

TEST_P(RmsNorm, ResidualMayBeAddedInPlace) {
  forward();
  const at::Tensor expected = y.tensor();
  rms_norm(context, x, shape.delta ? std::optional<ConstTensorView>(delta) : std::nullopt, x.view(), weight, kEps, y);
  EXPECT_TRUE(y.tensor().equal(expected));
  EXPECT_TRUE(x.tensor().equal(h.tensor()));
}

TEST_P(RmsNorm, BackwardIsTheGradient) {
  backward();
  const at::Tensor gradient = whole_dy();
  const auto autograd = [&](at::ScalarType type) {
    const at::Tensor leaf = x.tensor().to(type).requires_grad_();
    norm(leaf, weight.tensor().to(type)).backward(gradient.to(type));
    return leaf.grad() + residual.tensor().to(type);
  };
  expect_within_twice(dh.tensor(), autograd(scalar_type(shape.dtype)), autograd(at::kDouble), "dh");
}

TEST_P(RmsNorm, BackwardMayReplaceTheResidualGradient) {
  backward();
  Matrix in_place = residual;
  rms_norm_backward(context, x, weight, kEps, dy, lora(), in_place.view(), in_place);
  EXPECT_TRUE(in_place.tensor().equal(dh.tensor()));
}

TEST_P(RmsNorm, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    forward();
    backward();
    return std::pair(y.bytes(), dh.bytes());
  });
}

TEST_P(RmsNorm, ReferenceAgrees) {
  backward();
  const at::Tensor library = dh.doubles();
  const ReferenceOps reference;
  backward();
  EXPECT_LE(l2_error(dh.tensor(), library),
            4e-3 * library.norm().item<double>() * (shape.dtype == DType::kBf16 ? 1.0 : 1e-3));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNorm, testing::ValuesIn(kCases));

TEST(RmsNormChecks, WrongShapesAreRefused) {
  TestContext context;
  const Matrix x(DType::kF32, 4, 8), weight(DType::kF32, 1, 8), narrow(DType::kF32, 1, 7);
  Matrix y(DType::kF32, 4, 8), half(DType::kBf16, 4, 8);
  EXPECT_ANY_THROW(rms_norm(context, x, std::nullopt, std::nullopt, narrow, kEps, y));
  EXPECT_ANY_THROW(rms_norm(context, x, std::nullopt, std::nullopt, weight, kEps, half));
  EXPECT_NO_THROW(rms_norm(context, x, std::nullopt, std::nullopt, weight, kEps, y));
}

}  // namespace
}  // namespace shori
