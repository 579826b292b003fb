// The ops of decoding on the CPU against float64: products with rows of weights, linears for few tokens, attention over a
// cache. And what must not change a bit: instruction sets, other tokens, threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <set>

#include "kernels/cpu/row_dot.h"
#include "kernels/cpu/row_product.h"
#include "shori/ops/cached_attention.h"
#include "shori/ops/decode_linear.h"
#include "tests/support/ops_linear.h"
#include "tests/support/ops_matrix.h"
#include "tests/support/thread_count.h"

namespace shori {
namespace {

double relative(const at::Tensor& got, const at::Tensor& exact) {
  return ((got - exact).norm() / exact.norm()).item<double>();
}

struct LinearCase {
  const char* why;
  std::int64_t tokens, in, rank;
  std::vector<ModuleShape> modules;
  DType dtype;
  WeightKind kind = WeightKind::kNf4;
};

const LinearCase kLinearCases[] = {
    {.why = "one token, rows of whole blocks",
     .tokens = 1,
     .in = 192,
     .rank = 20,
     .modules = {{kQ, 65}, {kK, 15}, {kV, 1}},
     .dtype = DType::kF32},
    {.why = "8 tokens in bf16",
     .tokens = 8,
     .in = 128,
     .rank = 16,
     .modules = {{kGate, 200}, {kUp, 200}},
     .dtype = DType::kBf16},
    {.why = "rows that begin inside a block, shorter than a step",
     .tokens = 3,
     .in = 23,
     .rank = 1,
     .modules = {{kO, 40}},
     .dtype = DType::kF32},
    {.why = "rows that begin inside a block, longer than a chunk",
     .tokens = 2,
     .in = 1100,
     .rank = 4,
     .modules = {{kDown, 9}},
     .dtype = DType::kBf16},
    {.why = "dense bf16 weights with a tail",
     .tokens = 5,
     .in = 77,
     .rank = 33,
     .modules = {{kO, 17}},
     .dtype = DType::kBf16,
     .kind = WeightKind::kBf16},
    {.why = "dense fp32 weights",
     .tokens = 7,
     .in = 96,
     .rank = 2,
     .modules = {{kO, 17}},
     .dtype = DType::kF32,
     .kind = WeightKind::kF32},
};

TEST(DecodeLinear, MatchesFloat64) {
  TestContext context;
  for (const LinearCase& test : kLinearCases) {
    SCOPED_TRACE(test.why);
    const TestGroup linears(test.dtype, test.in, test.rank, test.modules, test.kind, 3);
    const LinearGroup& group = linears.group();
    Matrix x = random_matrix(test.dtype, test.tokens, group.fused_in(), 7, 1.0, 5);
    Matrix y(test.dtype, test.tokens, group.out(), 3);
    const at::Tensor input = x.doubles().narrow(1, 0, test.in);
    decode_linear(context, group, x, y);
    std::int64_t column = 0;
    for (std::size_t i = 0; i < test.modules.size(); ++i) {
      const std::int64_t rows = group.modules[i].weight.rows;
      const at::Tensor exact =
          input.matmul(linears.weight(i).t()) + input.matmul(linears.a(i).t()).matmul(linears.b_scaled(i).t());
      EXPECT_LE(relative(y.doubles().narrow(1, column, rows), exact), test.dtype == DType::kBf16 ? 6e-3 : 1e-6);
      column += rows;
    }
    // Each token alone, and under another number of threads.
    for (const int threads : {1, 3, 5}) {
      const ThreadCount count(threads);
      Matrix other(test.dtype, test.tokens, group.out(), 3);
      for (std::int64_t token = 0; token < test.tokens; ++token) {
        decode_linear(context, group, x.view().slice_rows(token, 1), other.view().slice_rows(token, 1));
      }
      EXPECT_EQ(other.bytes(), y.bytes()) << threads << " threads";
    }
  }
}

TEST(DecodeLinear, UsesAllThreads) {
  const MoreThreads threads;
  constexpr std::int64_t kIn = 8192;  // 8 rows are a task
  const std::int64_t rows = 8 * threads.count;
  const std::vector<Bf16> weight(static_cast<std::size_t>(rows * kIn));
  const LinearModule module{.weight = FrozenWeight::of(DType::kBf16, rows, kIn, weight.data())};
  std::vector<float> x(kIn), y(static_cast<std::size_t>(rows));
  Workspace workspace;
  decode_linear({.workspace = &workspace}, {.modules = {&module, 1}}, {x.data(), DType::kF32, 1, kIn, kIn},
                {y.data(), DType::kF32, 1, rows, rows});
  EXPECT_TRUE(threads.were_started());
}

// The bits would be the same if a set were never used.
TEST(RowProduct, EachInstructionSetOfThisMachineHasItsOwnFunctions) {
  const int best = static_cast<int>(std::min(cpu_support().best, CpuIsa::kAvx512));
  std::set<Nf4Dot> nf4;
  std::set<DenseDot<Bf16>> bf16;
  std::set<DenseDot<float>> f32;
  std::set<DenseAdd<Bf16>> add_bf16;
  std::set<DenseAdd<float>> add_f32;
  for (int isa = 0; isa <= best; ++isa) {
    const RowDot& dot = row_dot(static_cast<CpuIsa>(isa));
    nf4.insert(dot.nf4);
    bf16.insert(dot.bf16);
    f32.insert(dot.f32);
    add_bf16.insert(dot.add_bf16);
    add_f32.insert(dot.add_f32);
  }
  for (const std::size_t functions : {nf4.size(), bf16.size(), f32.size(), add_bf16.size(), add_f32.size()}) {
    EXPECT_EQ(functions, static_cast<std::size_t>(best) + 1);
  }
}

// Each sum is the one of its rows alone, in their order.
TEST(RowProduct, WeightedRowsAreAddedInTheirOrder) {
  constexpr std::int64_t kRows = 37, kFirst = 2, kSums = 7;
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const std::int64_t cols : {std::int64_t{64}, std::int64_t{80}, std::int64_t{23}}) {
      const Matrix rows = random_matrix(dtype, kRows, cols, 5), weights = random_matrix(DType::kF32, kSums, kRows, 6);
      const FrozenWeight matrix = FrozenWeight::of(dtype, kRows, cols, rows.view().data);
      std::vector<float> expected(static_cast<std::size_t>(kSums * cols), 0.5f);
      for (std::int64_t i = 0; i < kSums; ++i) {
        for (std::int64_t row = kFirst; row < kRows; ++row) {
          for (std::int64_t col = 0; col < cols; ++col) {
            float& sum = expected[static_cast<std::size_t>(i * cols + col)];
            const float value =
                dtype == DType::kF32 ? rows.view().row<float>(row)[col] : to_float(rows.view().row<Bf16>(row)[col]);
            sum = std::fma(weights.view().row<float>(i)[row], value, sum);
          }
        }
      }
      for (const CpuIsa isa : {CpuIsa::kPlain, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
        std::vector<float> sums(expected.size(), 0.5f);
        add_weighted_rows(isa, matrix, kFirst, kRows, {weights.view().row<float>(0) + kFirst, kRows, kSums},
                          sums.data());
        EXPECT_EQ(sums, expected) << name_of(isa) << ", " << cols << " columns, " << name_of(dtype);
      }
    }
  }
}

TEST(RowProduct, EveryInstructionSetGivesTheSameBits) {
  for (const LinearCase& test : kLinearCases) {
    SCOPED_TRACE(test.why);
    const TestGroup linears(test.dtype, test.in, 1, test.modules, test.kind, 3);
    const FrozenWeight& weight = linears.group().modules.front().weight;
    const Matrix x = random_matrix(DType::kF32, test.tokens, test.in, 7);
    std::vector<float> packed(static_cast<std::size_t>(test.tokens * packed_input_size(weight)));
    for (std::int64_t token = 0; token < test.tokens; ++token) {
      pack_input(weight, x.view().row<float>(token), packed.data() + token * packed_input_size(weight));
    }
    std::vector<float> plain;
    for (const CpuIsa isa : {CpuIsa::kPlain, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      std::vector<float> sums(static_cast<std::size_t>(test.tokens * weight.rows));
      multiply_rows(isa, weight, 0, weight.rows, packed.data(), test.tokens, sums.data(), weight.rows);
      if (plain.empty()) plain = sums;
      EXPECT_EQ(sums, plain) << name_of(isa);
    }
  }
}

struct AttentionCase {
  const char* why;
  std::int64_t first, tokens;
  AttentionShape shape;
  DType dtype;
};
void PrintTo(const AttentionCase& test, std::ostream* out) { *out << test.why; }

const AttentionCase kAttentionCases[] = {
    {.why = "the first token",
     .first = 0,
     .tokens = 1,
     .shape = {.heads = 1, .kv_heads = 1, .head_dim = 2},
     .dtype = DType::kF32},
    {.why = "one token after a chunk of keys",
     .first = 256,
     .tokens = 1,
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 64},
     .dtype = DType::kBf16},
    {.why = "7 tokens over the end of a chunk",
     .first = 252,
     .tokens = 7,
     .shape = {.heads = 4, .kv_heads = 1, .head_dim = 80},
     .dtype = DType::kF32},
    {.why = "a window shorter than a chunk",
     .first = 300,
     .tokens = 7,
     .shape = {.heads = 2, .kv_heads = 2, .head_dim = 10, .window = 17},
     .dtype = DType::kF32},
    {.why = "a whole prompt of 128",
     .first = 0,
     .tokens = 128,
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 16},
     .dtype = DType::kBf16},
    {.why = "130 tokens with a window over chunks",
     .first = 400,
     .tokens = 130,
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 32, .window = 300},
     .dtype = DType::kF32},
    {.why = "a window of the token alone",
     .first = 5,
     .tokens = 3,
     .shape = {.heads = 2, .kv_heads = 1, .head_dim = 8, .window = 1},
     .dtype = DType::kF32},
};

class CachedAttention : public testing::TestWithParam<AttentionCase> {
 protected:
  const AttentionCase& test = GetParam();
  const AttentionShape& shape = test.shape;
  const std::int64_t dim = shape.head_dim, end = test.first + test.tokens, positions = end + 2;
  const std::int64_t width = (shape.heads + 2 * shape.kv_heads) * dim;
  TestContext context;
  const Matrix qkv = random_matrix(test.dtype, test.tokens, width, 1, 1.0, 2);
  Matrix keys = random_matrix(test.dtype, shape.kv_heads* positions, dim, 2);
  Matrix values = random_matrix(test.dtype, shape.kv_heads* positions, dim, 3);

  Matrix run() {
    Matrix out(test.dtype, test.tokens, shape.heads * dim, 32);
    cached_attention(context, shape, qkv, {keys, values, positions}, test.first, out);
    return out;
  }
  // Keys or values [H, end, D] of the tokens so far.
  at::Tensor whole(const Matrix& cache) const {
    return cache.doubles()
        .view({shape.kv_heads, positions, dim})
        .narrow(1, 0, end)
        .repeat_interleave(shape.heads / shape.kv_heads, 0);
  }
};

TEST_P(CachedAttention, MatchesFloat64) {
  const Matrix out = run();
  const at::Tensor row = at::arange(test.first, end).unsqueeze(1), column = at::arange(end).unsqueeze(0);
  at::Tensor seen = column <= row;
  if (shape.window > 0) seen = seen.logical_and(column > row - shape.window);
  const at::Tensor q =
      qkv.doubles().narrow(1, 0, shape.heads * dim).view({test.tokens, shape.heads, dim}).transpose(0, 1);
  const at::Tensor scores = q.matmul(whole(keys).transpose(1, 2)) / std::sqrt(static_cast<double>(dim));
  const at::Tensor p = scores.masked_fill(seen.logical_not(), -INFINITY).softmax(-1);
  const at::Tensor exact = p.matmul(whole(values)).transpose(0, 1).reshape({test.tokens, shape.heads * dim});
  EXPECT_LE(relative(out.doubles(), exact), test.dtype == DType::kBf16 ? 4e-3 : 2e-6);
  // The new tokens are in the cache.
  const at::Tensor stored = keys.doubles().view({shape.kv_heads, positions, dim}).narrow(1, test.first, test.tokens);
  EXPECT_TRUE(stored.transpose(0, 1)
                  .reshape({test.tokens, shape.kv_heads * dim})
                  .equal(qkv.doubles().narrow(1, shape.heads * dim, shape.kv_heads * dim)));
}

TEST_P(CachedAttention, NeitherThreadsNorOtherTokensChangeABit) {
  const Matrix out = run();
  for (const int threads : {1, 2, 3, 5}) {
    const ThreadCount count(threads);
    EXPECT_EQ(run().bytes(), out.bytes()) << threads << " threads";
  }
  Matrix alone(test.dtype, test.tokens, shape.heads * dim, 32);
  for (std::int64_t token = 0; token < test.tokens; ++token) {
    cached_attention(context, shape, qkv.view().slice_rows(token, 1), {keys, values, positions}, test.first + token,
                     alone.view().slice_rows(token, 1));
  }
  EXPECT_EQ(alone.bytes(), out.bytes());
}

TEST(CachedAttentionTasks, UseAllThreads) {
  const MoreThreads threads;
  constexpr AttentionShape kShape{.heads = 1, .kv_heads = 1, .head_dim = 8};
  constexpr std::int64_t kWidth = 3 * kShape.head_dim;
  const std::int64_t tokens = threads.count;
  const auto size = static_cast<std::size_t>(tokens * kWidth);
  std::vector<float> qkv(size), keys(size / 3), values(size / 3), out(size / 3);
  const auto view = [&](std::vector<float>& memory, std::int64_t cols) {
    return TensorView{memory.data(), DType::kF32, tokens, cols, cols};
  };
  Workspace workspace;
  cached_attention({.workspace = &workspace}, kShape, view(qkv, kWidth),
                   {view(keys, kShape.head_dim), view(values, kShape.head_dim), tokens}, 0, view(out, kShape.head_dim));
  EXPECT_TRUE(threads.were_started());
}

INSTANTIATE_TEST_SUITE_P(Shapes, CachedAttention, testing::ValuesIn(kAttentionCases));

}  // namespace
}  // namespace shori
