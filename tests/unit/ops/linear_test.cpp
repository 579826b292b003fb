// The ops of one linear group together: lora_down, nf4_linear, nf4_linear_backward, lora_grad_a, lora_grad_b, and the
// LoRA part of the input's gradient.
#include <gtest/gtest.h>

#include <ostream>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product_order.h"
#include "kernels/lora/lora_grad_launch.h"
#include "kernels/lora/lora_input.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/util/math.h"
#include "tests/support/ops_linear.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

struct Case {
  const char* why;
  std::int64_t tokens, in, rank;
  std::vector<ModuleShape> modules;
  DType dtype;
  WeightKind kind = WeightKind::kNf4;
  float probability = 0.0f;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one token, no dropout", .tokens = 1, .in = 64, .rank = 4, .modules = {{kO, 64}}, .dtype = DType::kF32},
    {.why = "one column less than a quantization block; rank 1",
     .tokens = 1,
     .in = 63,
     .rank = 1,
     .modules = {{kO, 15}},
     .dtype = DType::kBf16,
     .probability = 0.1f},
    {.why = "odd widths of q k v",
     .tokens = 15,
     .in = 65,
     .rank = 20,
     .modules = {{kQ, 65}, {kK, 15}, {kV, 1}},
     .dtype = DType::kF32,
     .probability = 0.1f},
    {.why = "q k v in bf16",
     .tokens = 63,
     .in = 128,
     .rank = 20,
     .modules = {{kQ, 128}, {kK, 64}, {kV, 64}},
     .dtype = DType::kBf16,
     .probability = 0.1f},
    {.why = "outputs wider than a tile of 128",
     .tokens = 64,
     .in = 192,
     .rank = 8,
     .modules = {{kGate, 200}, {kUp, 200}},
     .dtype = DType::kF32},
    {.why = "an input of several tiles; another dropout",
     .tokens = 65,
     .in = 448,
     .rank = 20,
     .modules = {{kDown, 128}},
     .dtype = DType::kBf16,
     .probability = 0.25f},
    {.why = "bf16 weights; a module without LoRA in the middle",
     .tokens = 130,
     .in = 64,
     .rank = 16,
     .modules = {{kQ, 64}, {kK, 32, kNoLora}, {kV, 32}},
     .dtype = DType::kBf16,
     .kind = WeightKind::kBf16,
     .probability = 0.1f},
    {.why = "fp32 weights; a module without LoRA at the start; rank not a multiple of 8",
     .tokens = 130,
     .in = 64,
     .rank = 33,
     .modules = {{kQ, 64, kNoLora}, {kK, 32}, {kV, 32}},
     .dtype = DType::kF32,
     .kind = WeightKind::kF32,
     .probability = 0.1f},
    {.why = "no LoRA", .tokens = 17, .in = 64, .rank = 0, .modules = {{kO, 130, kNoLora}}, .dtype = DType::kF32},
    {.why = "more tokens than a tile of 512",
     .tokens = 600,
     .in = 136,
     .rank = 4,
     .modules = {{kO, 264}},
     .dtype = DType::kF32,
     .probability = 0.1f},
    {.why = "more tokens than a slab of the gradients",
     .tokens = 1100,
     .in = 72,
     .rank = 4,
     .modules = {{kO, 40}},
     .dtype = DType::kBf16,
     .probability = 0.1f},
};

struct ModuleGradients {
  at::Tensor a, b;
};

// Everything that the group computes, by autograd in one precision.
struct Expected {
  at::Tensor y, dx;
  std::vector<ModuleGradients> modules;
};

class Linear : public testing::TestWithParam<Case> {
 protected:
  const Case& shape = GetParam();
  TestContext context;
  TestGroup linears{shape.dtype, shape.in, shape.rank, shape.modules, shape.kind, 10};
  DropoutKey dropout{.seed = 0x1234567890abcdef,
                     .step = 5,
                     .micro_batch = 2,
                     .layer = 3,
                     .first_token = 11,
                     .probability = shape.probability};
  const std::int64_t lora_columns = linears.group().lora_columns();
  Matrix input = random_matrix(shape.dtype, shape.tokens, shape.in, 1);
  Matrix x{shape.dtype, shape.tokens, shape.in + lora_columns};
  Matrix y{shape.dtype, shape.tokens, linears.group().out(), 4};
  Matrix dy = random_matrix(shape.dtype, shape.tokens, linears.group().out(), 2);
  Matrix dx{shape.dtype, shape.tokens, shape.in + lora_columns};
  Matrix whole_dx{DType::kF32, shape.tokens, shape.in};

  void SetUp() override {
    at::Tensor fused = at::full({shape.tokens, shape.in + lora_columns}, 7.0, at::kDouble);
    fused.narrow(1, 0, shape.in).copy_(input.doubles());
    x.set(fused);
  }
  bool has_lora() const { return linears.group().lora_count() > 0; }
  void run() {
    linears.clear_gradients();
    if (has_lora()) lora_down(context, linears.group(), dropout, x);
    nf4_linear(context, linears.group(), x, y);
    nf4_linear_backward(context, linears.group(), dy, dx);
    if (has_lora()) {
      lora_grad_a(context, linears.group(), dropout, x, dx);
      lora_grad_b(context, linears.group(), x, dy);
    }
    load_whole_dx();
  }
  void load_whole_dx() {
    const WorkspaceFrame frame(context.workspace);
    const std::optional<LoraInputGradient> lora =
        has_lora() ? std::optional(LoraInputGradient{&linears.group(), dropout}) : std::nullopt;
    const InputGradient source(context, "test", dx, shape.in, lora);
    const std::int64_t tile = InputGradient::kRows;
    for_each_task(ceil_div(shape.tokens, tile), [&](std::int64_t task, std::int64_t worker) {
      const std::int64_t first = task * tile;
      source.load(first, std::min(tile, shape.tokens - first), worker, whole_dx.view().row<float>(first));
    });
  }
  // PEFT's chain of operations in `type`, with the factors as the products see them.
  Expected expected(at::ScalarType type) const {
    const at::Tensor leaf = input.tensor().to(type).requires_grad_();
    std::vector<at::Tensor> outputs;
    std::vector<std::pair<at::Tensor, at::Tensor>> factors(shape.modules.size());
    for (std::size_t i = 0; i < shape.modules.size(); ++i) {
      at::Tensor out = at::mm(leaf, linears.weight(i).to(type).t());
      if (shape.modules[i].lora) {
        auto& [a, b] = factors[i];
        a = linears.a(i).to(type).requires_grad_();
        b = (linears.b_scaled(i) / TestGroup::kScaling).to(type).requires_grad_();
        const at::Tensor mask = dropout_mask(dropout, shape.modules[i].linear, shape.tokens, shape.in).to(type);
        out = out + at::mm(at::mm(leaf * mask, a.t()), b.t()) * static_cast<double>(TestGroup::kScaling);
      }
      outputs.push_back(out);
    }
    Expected result;
    result.y = at::cat(outputs, 1);
    result.y.backward(dy.tensor().to(type));
    result.y = result.y.detach();
    result.dx = leaf.grad();
    for (const auto& [a, b] : factors) {
      result.modules.push_back(a.defined() ? ModuleGradients{a.grad(), b.grad()} : ModuleGradients{});
    }
    return result;
  }
  std::vector<std::vector<CacheLine>> all_bytes() {
    std::vector<std::vector<CacheLine>> all{x.bytes(), y.bytes(), dx.bytes(), whole_dx.bytes()};
    for (std::size_t i = 0; i < shape.modules.size(); ++i) {
      all.push_back(linears.da(i).bytes());
      all.push_back(linears.db(i).bytes());
    }
    return all;
  }
  void expect_as_exact_as_the_framework() {
    run();
    const Expected exact = expected(at::kDouble), framework = expected(scalar_type(shape.dtype));
    expect_within_twice(y.tensor(), framework.y, exact.y, "y");
    expect_within_twice(whole_dx.tensor(), framework.dx, exact.dx, "dx");
    for (std::size_t i = 0; i < shape.modules.size(); ++i) {
      if (!shape.modules[i].lora) continue;
      expect_within_twice(linears.da(i).tensor(), framework.modules[i].a, exact.modules[i].a, "da");
      expect_within_twice(linears.db(i).tensor(), framework.modules[i].b, exact.modules[i].b, "db");
    }
  }
};

TEST_P(Linear, IsAsExactAsTheFramework) { expect_as_exact_as_the_framework(); }

TEST_P(Linear, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    run();
    return all_bytes();
  });
}

TEST_P(Linear, ReferenceAgrees) {
  run();
  const at::Tensor library_y = y.doubles(), library_dx = whole_dx.doubles();
  const ReferenceOps reference;
  run();
  const double bound = shape.dtype == DType::kBf16 ? 4e-3 : 2e-6;
  EXPECT_LE(l2_error(y.tensor(), library_y), bound * library_y.norm().item<double>());
  EXPECT_LE(l2_error(whole_dx.tensor(), library_dx), bound * library_dx.norm().item<double>());
}

TEST_P(Linear, LoraColumnsPastTheFactorsAreZero) {
  run();
  const std::int64_t used = linears.group().lora_count() * shape.rank;
  EXPECT_EQ(x.tensor().narrow(1, shape.in + used, lora_columns - used).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_EQ(dx.tensor().narrow(1, shape.in + used, lora_columns - used).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_TRUE(x.tensor().narrow(1, 0, shape.in).equal(input.tensor())) << "x itself is left alone";
}

TEST_P(Linear, GradientsAreAdded) {
  run();
  if (!has_lora()) return;
  const std::size_t module = shape.modules[0].lora ? 0 : 1;
  const at::Tensor once_a = linears.da(module).tensor(), once_b = linears.db(module).tensor();
  lora_grad_a(context, linears.group(), dropout, x, dx);
  lora_grad_b(context, linears.group(), x, dy);
  if (shape.tokens <= kGradientSlab) {
    EXPECT_TRUE(linears.da(module).tensor().equal(once_a + once_a));
    EXPECT_TRUE(linears.db(module).tensor().equal(once_b + once_b));
  } else {
    EXPECT_LE(l2_error(linears.da(module).tensor(), 2 * once_a.to(at::kDouble)), 1e-6 * once_a.norm().item<double>());
  }
}

// The order of AMX, in loops.
TEST_P(Linear, TilesAreAsExactAsTheFramework) {
  const TileOps tiles;
  if (shape.dtype == DType::kBf16) expect_as_exact_as_the_framework();
}

TEST_P(Linear, TilesGiveTheSameBytesForThreads) {
  if (shape.dtype != DType::kBf16) return;
  const TileOps tiles;
  expect_same_bytes_for_threads([&] {
    run();
    return all_bytes();
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Linear, testing::ValuesIn(kCases));

// Blocks of k, of columns and of tokens: each sum is that of the loop over the whole fused row, byte for byte.
TEST(TileLinear, SumsInTheOrderOfTheTilesOverTheWholeFusedRow) {
  constexpr std::int64_t kTokens = 1061, kIn = 2200, kRank = 20;
  TestContext context;
  TestGroup linears(DType::kBf16, kIn, kRank, {{kGate, 270}, {kUp, 33}}, WeightKind::kNf4, 5);
  const LinearGroup& group = linears.group();
  const Matrix x = random_matrix(DType::kBf16, kTokens, group.fused_in(), 1, 1.0, 3);
  const Matrix dy = random_matrix(DType::kBf16, kTokens, group.out(), 2, 1.0, 5);
  Matrix y(DType::kBf16, kTokens, group.out(), 1), dx(DType::kBf16, kTokens, group.fused_in(), 7);
  const TileOps tiles;
  nf4_linear(context, group, x, y);
  nf4_linear_backward(context, group, dy, dx);

  at::Tensor fused = at::zeros({group.out(), group.fused_in()}, at::kFloat);
  for (std::int64_t i = 0, row = 0; i < 2; row += group.modules[static_cast<std::size_t>(i++)].weight.rows) {
    const auto module = static_cast<std::size_t>(i);
    const std::int64_t rows = group.modules[module].weight.rows;
    fused.narrow(0, row, rows).narrow(1, 0, kIn).copy_(linears.weight(module));
    fused.narrow(0, row, rows).narrow(1, kIn + i * kRank, kRank).copy_(linears.b_scaled(module));
  }
  const float* weight = fused.data_ptr<float>();
  const std::int64_t in = group.fused_in(), out = group.out();
  const auto element = [](const Matrix& matrix, std::int64_t row, std::int64_t col) {
    return matrix.view().row<Bf16>(row)[col];
  };
  for (const std::int64_t token : {0, 31, 32, 511, 1023, 1024, 1060}) {
    for (std::int64_t row = 0; row < out; row += 13) {
      const float sum = sum_in_tile_order(
          in, [&](std::int64_t k) { return to_float(element(x, token, k)); },
          [&](std::int64_t k) { return weight[row * in + k]; }, 0.0f);
      ASSERT_EQ(element(y, token, row), to_bf16(sum)) << "y, token " << token << ", output " << row;
    }
    for (std::int64_t col = 0; col < in; col += 37) {
      const float sum = sum_in_tile_order(
          out, [&](std::int64_t k) { return to_float(element(dy, token, k)); },
          [&](std::int64_t k) { return weight[k * in + col]; }, 0.0f);
      ASSERT_EQ(element(dx, token, col), to_bf16(sum)) << "dx, token " << token << ", column " << col;
    }
  }
}

// Masks on the bf16 values, sums over tokens in slabs: each LoRA product is that of the loop, byte for byte.
TEST(TileLora, SumsInTheOrderOfTheTiles) {
  constexpr std::int64_t kTokens = 1061, kIn = 200, kRank = 20;
  TestContext context;
  TestGroup linears(DType::kBf16, kIn, kRank, {{kGate, 70}, {kUp, 33}}, WeightKind::kNf4, 5);
  const LinearGroup& group = linears.group();
  const DropoutKey dropout{.seed = 3, .step = 1, .layer = 2, .probability = 0.1f};
  Matrix x = random_matrix(DType::kBf16, kTokens, group.fused_in(), 1, 1.0, 3);
  const Matrix dx = random_matrix(DType::kBf16, kTokens, group.fused_in(), 2, 1.0, 5);
  const Matrix dy = random_matrix(DType::kBf16, kTokens, group.out(), 3);
  linears.clear_gradients();
  const TileOps tiles;
  lora_down(context, group, dropout, x);
  lora_grad_a(context, group, dropout, x, dx);
  lora_grad_b(context, group, x, dy);
  Matrix whole(DType::kF32, 1, kIn);
  const std::int64_t last = kTokens - 1;
  {
    const WorkspaceFrame frame(context.workspace);
    const InputGradient source(context, "test", dx, kIn, LoraInputGradient{&group, dropout});
    source.load(last, 1, 0, whole.view().row<float>(0));
  }
  const auto value = [](const Matrix& matrix, std::int64_t row, std::int64_t col) {
    return to_float(matrix.view().row<Bf16>(row)[col]);
  };
  // The sum over one slab after the other, each from zero.
  const auto sum_of_slabs = [&](float scale, const auto& a, const auto& b) {
    float sum = 0.0f;
    for (std::int64_t row = 0; row < kTokens; row += kGradientSlab) {
      sum += scale * sum_in_tile_order(
                         std::min(kGradientSlab, kTokens - row), [&](std::int64_t t) { return a(row + t); },
                         [&](std::int64_t t) { return b(row + t); }, 0.0f);
    }
    return sum;
  };
  std::vector<float> gradient_of_last(kIn);
  for (std::int64_t i = 0; i < kIn; ++i) gradient_of_last[static_cast<std::size_t>(i)] = value(dx, last, i);
  for (std::size_t module = 0, out = 0; module < 2;
       out += static_cast<std::size_t>(group.modules[module++].weight.rows)) {
    const at::Tensor mask = dropout_mask(dropout, module == 0 ? kGate : kUp, kTokens, kIn);
    const at::Tensor kept = mask.ne(0).to(at::kFloat).contiguous(), a = linears.a(module).to(at::kFloat).contiguous();
    const float *keep = kept.data_ptr<float>(), *factor = a.data_ptr<float>();
    const std::int64_t slot = kIn + static_cast<std::int64_t>(module) * kRank;
    const auto dropped = [&](std::int64_t t, std::int64_t col) { return keep[t * kIn + col] * value(x, t, col); };
    const at::Tensor da = linears.da(module).tensor().contiguous(), db = linears.db(module).tensor().contiguous();
    for (std::int64_t r = 0; r < kRank; r += 3) {
      for (const std::int64_t token : {std::int64_t{0}, std::int64_t{127}, std::int64_t{128}, last}) {
        const float sum = sum_in_tile_order(
            kIn, [&](std::int64_t k) { return dropped(token, k); }, [&](std::int64_t k) { return factor[r * kIn + k]; },
            0.0f);
        ASSERT_EQ(x.view().row<Bf16>(token)[slot + r], to_bf16(sum * dropout.scale())) << "xA, token " << token;
      }
      for (std::int64_t col = 0; col < kIn; col += 23) {
        ASSERT_EQ(da.data_ptr<float>()[r * kIn + col],
                  sum_of_slabs(
                      dropout.scale(), [&](std::int64_t t) { return value(dx, t, slot + r); },
                      [&](std::int64_t t) { return dropped(t, col); }))
            << "da, column " << col;
      }
      for (std::int64_t row = 0; row < group.modules[module].weight.rows; row += 11) {
        ASSERT_EQ(
            db.data_ptr<float>()[row * kRank + r],
            sum_of_slabs(
                TestGroup::kScaling, [&](std::int64_t t) { return value(dy, t, static_cast<std::int64_t>(out) + row); },
                [&](std::int64_t t) { return value(x, t, slot + r); }))
            << "db, row " << row;
      }
    }
    for (std::int64_t col = 0; col < kIn; ++col) {
      const float product = sum_in_tile_order(
          kRank, [&](std::int64_t r) { return value(dx, last, slot + r); },
          [&](std::int64_t r) { return factor[r * kIn + col]; }, 0.0f);
      gradient_of_last[static_cast<std::size_t>(col)] += dropout.scale() * (keep[last * kIn + col] * product);
    }
  }
  for (std::int64_t col = 0; col < kIn; ++col) {
    ASSERT_EQ(whole.view().row<float>(0)[col], gradient_of_last[static_cast<std::size_t>(col)]) << "dx, column " << col;
  }
}

// Calls with tokens that are cut at whole slabs give the same gradients as one call.
TEST(LoraGrad, TilesOfSlabsGiveTheSameBytes) {
  constexpr std::int64_t kTokens = 2500, kIn = 64, kOut = 48, kRank = 20;
  TestContext context;
  TestGroup linears(DType::kBf16, kIn, kRank, {{kDown, kOut}}, WeightKind::kNf4, 5);
  const LinearGroup& group = linears.group();
  DropoutKey dropout{.seed = 3, .step = 1, .probability = 0.1f};
  Matrix x = random_matrix(DType::kBf16, kTokens, group.fused_in(), 1),
         dx = random_matrix(DType::kBf16, kTokens, group.fused_in(), 2);
  const Matrix dy = random_matrix(DType::kBf16, kTokens, kOut, 3);
  const auto run = [&](std::int64_t tile) {
    linears.clear_gradients();
    for (std::int64_t first = 0; first < kTokens; first += tile) {
      const std::int64_t count = std::min(tile, kTokens - first);
      dropout.first_token = static_cast<std::uint32_t>(first);
      lora_down(context, group, dropout, x.view().slice_rows(first, count));
      lora_grad_a(context, group, dropout, x.view().slice_rows(first, count), dx.view().slice_rows(first, count));
      lora_grad_b(context, group, x.view().slice_rows(first, count), dy.view().slice_rows(first, count));
    }
    return std::tuple(x.bytes(), linears.da(0).bytes(), linears.db(0).bytes());
  };
  const auto expect_equal = [&] {
    const auto whole = run(kTokens);
    EXPECT_TRUE(run(kGradientSlab) == whole);
    EXPECT_TRUE(run(2 * kGradientSlab) == whole);
  };
  expect_equal();
  const TileOps tiles;
  expect_equal();
}

TEST(RoundLoraFactor, RoundsOnceAfterTheScale) {
  TestContext context;
  const Matrix master = random_matrix(DType::kF32, 20, 77, 1);
  Matrix out(DType::kBf16, 20, 77), copy(DType::kF32, 20, 77);
  round_lora_factor(context, master, 0.8f, out);
  EXPECT_TRUE(out.tensor().equal((master.tensor() * 0.8f).to(at::kBFloat16)));
  round_lora_factor(context, master, 1.0f, copy);
  EXPECT_TRUE(copy.tensor().equal(master.tensor()));
}

// Sums over as many terms as the largest linear of Mistral has, which a BLAS might cut among its threads.
TEST(Linear14k, BytesDoNotDependOnThreads) {
  constexpr std::int64_t kTokens = 40, kFeedForward = 14336, kNarrow = 192, kRank = 20;
  TestContext context;
  TestGroup down(DType::kF32, kFeedForward, kRank, {{kDown, kNarrow}}, WeightKind::kNf4, 5);
  TestGroup gate_up(DType::kF32, kNarrow, kRank, {{kGate, kFeedForward / 2}, {kUp, kFeedForward / 2}}, WeightKind::kNf4,
                    6);
  const DropoutKey dropout{.seed = 3, .step = 1, .probability = 0.1f};
  Matrix x = random_matrix(DType::kF32, kTokens, down.group().fused_in(), 1), y(DType::kF32, kTokens, kNarrow);
  const Matrix dy = random_matrix(DType::kF32, kTokens, kFeedForward, 2);
  Matrix dx(DType::kF32, kTokens, gate_up.group().fused_in());
  expect_same_bytes_for_threads([&] {
    lora_down(context, down.group(), dropout, x);
    nf4_linear(context, down.group(), x, y);
    nf4_linear_backward(context, gate_up.group(), dy, dx);
    return std::tuple(x.bytes(), y.bytes(), dx.bytes());
  });
}

TEST(LinearChecks, WrongGroupsAreRefused) {
  TestContext context;
  const TestGroup linears(DType::kF32, 64, 4, {{kQ, 8}}, WeightKind::kNf4, 1);
  Matrix x(DType::kF32, 2, linears.group().fused_in()), y(DType::kF32, 2, 8), narrow(DType::kF32, 2, 64);
  EXPECT_ANY_THROW(nf4_linear(context, linears.group(), narrow, y));
  EXPECT_ANY_THROW(lora_down(context, linears.group(), {}, narrow));
  LinearModule module = linears.group().modules[0];
  module.lora_index = 1;
  const LinearGroup gap{std::span(&module, 1), 4, TestGroup::kScaling};
  EXPECT_ANY_THROW(nf4_linear(context, gap, x, y));
  OpContext device = context.context;
  device.device = Device::kCuda;
  EXPECT_ANY_THROW(nf4_linear(device, linears.group(), x, y));
}

}  // namespace
}  // namespace shori
