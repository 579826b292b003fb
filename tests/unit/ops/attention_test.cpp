#include "shori/ops/attention.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/ops_linear.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

struct Case {
  const char* why;
  std::vector<std::int32_t> cu_seqlens;
  AttentionShape shape;
  DType dtype;
  bool lora = false;
};
void PrintTo(const Case& test, std::ostream* out) { *out << test.why; }

const Case kCases[] = {
    {.why = "one token, one head",
     .cu_seqlens = {0, 1},
     .shape = {.heads = 1, .kv_heads = 1, .head_dim = 2},
     .dtype = DType::kF32},
    {.why = "one sample, each head with its own keys",
     .cu_seqlens = {0, 15},
     .shape = {.heads = 2, .kv_heads = 2, .head_dim = 8},
     .dtype = DType::kBf16},
    {.why = "samples of one token beside longer ones; two query heads per key head",
     .cu_seqlens = {0, 1, 64, 65, 130},
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 16},
     .dtype = DType::kF32,
     .lora = true},
    {.why = "all query heads share one key head",
     .cu_seqlens = {0, 63, 127, 128},
     .shape = {.heads = 4, .kv_heads = 1, .head_dim = 32},
     .dtype = DType::kBf16,
     .lora = true},
    {.why = "a window far shorter than a block of 128 queries; a head size that is no power of two",
     .cu_seqlens = {0, 200},
     .shape = {.heads = 4, .kv_heads = 4, .head_dim = 10, .window = 17},
     .dtype = DType::kF32},
    {.why = "samples of several blocks of queries, with a window",
     .cu_seqlens = {0, 129, 400, 401},
     .shape = {.heads = 8, .kv_heads = 2, .head_dim = 16, .window = 64},
     .dtype = DType::kF32,
     .lora = true},
    {.why = "an empty sample; a window of the token alone",
     .cu_seqlens = {0, 300, 300, 310},
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 16, .window = 1},
     .dtype = DType::kBf16},
    {.why = "a window longer than a block of queries",
     .cu_seqlens = {0, 257, 513},
     .shape = {.heads = 4, .kv_heads = 2, .head_dim = 64, .window = 130},
     .dtype = DType::kBf16,
     .lora = true},
};

// Which keys each query of one sample sees.
at::Tensor visible_keys(std::int64_t tokens, std::int64_t window) {
  const at::Tensor position = at::arange(tokens);
  const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);
  return window > 0 ? (distance >= 0).logical_and(distance < window) : distance >= 0;
}

// libtorch's own attention on each sample alone: qkv [T, (H + 2 Hkv) D] -> [T, H D].
at::Tensor framework_attention(const at::Tensor& qkv, const Case& test) {
  const AttentionShape& shape = test.shape;
  std::vector<at::Tensor> outputs;
  for (std::size_t i = 0; i + 1 < test.cu_seqlens.size(); ++i) {
    const std::int64_t start = test.cu_seqlens[i], tokens = test.cu_seqlens[i + 1] - start;
    if (tokens == 0) continue;
    const auto heads = [&](std::int64_t first, std::int64_t count) {
      const at::Tensor columns = qkv.narrow(0, start, tokens).narrow(1, first * shape.head_dim, count * shape.head_dim);
      const at::Tensor split = columns.reshape({tokens, count, shape.head_dim}).transpose(0, 1);
      return split.repeat_interleave(shape.heads / count, 0).unsqueeze(0);
    };
    const at::Tensor out = at::scaled_dot_product_attention(heads(0, shape.heads), heads(shape.heads, shape.kv_heads),
                                                            heads(shape.heads + shape.kv_heads, shape.kv_heads),
                                                            visible_keys(tokens, shape.window));
    outputs.push_back(out.squeeze(0).transpose(0, 1).reshape({tokens, shape.heads * shape.head_dim}));
  }
  return at::cat(outputs, 0);
}

class Attention : public testing::TestWithParam<Case> {
 protected:
  static constexpr std::int64_t kRank = 7;
  const Case& test = GetParam();
  const std::int64_t tokens = test.cu_seqlens.back(), dim = test.shape.head_dim, cols = test.shape.heads * dim;
  const std::int64_t width = (test.shape.heads + 2 * test.shape.kv_heads) * dim;
  TestContext context;
  Matrix qkv = random_matrix(test.dtype, tokens, width, 1, 1.0, 2);
  Matrix out{test.dtype, tokens, cols, 32};
  Matrix lse{DType::kF32, test.shape.heads, tokens};
  Matrix dqkv{test.dtype, tokens, width};
  TestGroup linears{test.dtype, cols, kRank, {{kO, 16}}, WeightKind::kBf16, 50};
  DropoutKey dropout{.seed = 4, .step = 9, .layer = 1, .probability = 0.1f};
  Matrix dout = random_matrix(test.dtype, tokens, cols + (test.lora ? linears.group().lora_columns() : 0), 2);

  void run() {
    attention(context, test.shape, qkv, test.cu_seqlens, out, lse);
    const std::optional<LoraInputGradient> lora =
        test.lora ? std::optional(LoraInputGradient{&linears.group(), dropout}) : std::nullopt;
    attention_backward(context, test.shape, qkv, test.cu_seqlens, out, lse, dout, lora, dqkv);
  }
  at::Tensor whole_dout() const {
    const at::Tensor fused = dout.doubles();
    at::Tensor sum = fused.narrow(1, 0, cols).clone();
    if (test.lora) sum += dropout_mask(dropout, kO, tokens, cols) * at::mm(fused.narrow(1, cols, kRank), linears.a(0));
    return sum;
  }
  struct Expected {
    at::Tensor out, dqkv;
  };
  Expected expected(at::ScalarType type) const {
    const at::Tensor leaf = qkv.tensor().to(type).requires_grad_();
    const at::Tensor result = framework_attention(leaf, test);
    result.backward(whole_dout().to(type));
    return {result.detach(), leaf.grad()};
  }

  void expect_as_exact_as_the_framework() {
    run();
    const Expected exact = expected(at::kDouble), framework = expected(scalar_type(test.dtype));
    expect_within_twice(out.tensor(), framework.out, exact.out, "out");
    expect_within_twice(dqkv.tensor(), framework.dqkv, exact.dqkv, "dqkv");
  }
};

TEST_P(Attention, IsAsExactAsTheFramework) { expect_as_exact_as_the_framework(); }

// Tiles round the probabilities and their gradients to bf16, as FlashAttention does.
TEST_P(Attention, TilesAreAsExactAsTheFramework) {
  if (test.dtype != DType::kBf16) return;
  const TileOps tiles;
  expect_as_exact_as_the_framework();
}

TEST_P(Attention, TilesGiveTheSameBytesForThreads) {
  if (test.dtype != DType::kBf16) return;
  const TileOps tiles;
  expect_same_bytes_for_threads([&] {
    run();
    return std::tuple(out.bytes(), lse.bytes(), dqkv.bytes());
  });
}

TEST_P(Attention, LogSumExpIsThatOfTheScaledScores) {
  run();
  for (std::size_t i = 0; i + 1 < test.cu_seqlens.size(); ++i) {
    const std::int64_t start = test.cu_seqlens[i], count = test.cu_seqlens[i + 1] - start;
    if (count == 0) continue;
    for (std::int64_t head = 0; head < test.shape.heads; ++head) {
      const std::int64_t kv = head * test.shape.kv_heads / test.shape.heads;
      const at::Tensor rows = qkv.doubles().narrow(0, start, count);
      const at::Tensor q = rows.narrow(1, head * dim, dim), k = rows.narrow(1, (test.shape.heads + kv) * dim, dim);
      const at::Tensor scores = at::mm(q, k.t()) / std::sqrt(static_cast<double>(dim));
      const at::Tensor hidden = visible_keys(count, test.shape.window).logical_not();
      const at::Tensor exact = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()).logsumexp({1});
      const at::Tensor ours = lse.doubles().select(0, head).narrow(0, start, count);
      EXPECT_LE((ours - exact).abs().max().item<double>(), 4e-6 * (1.0 + exact.abs().max().item<double>()));
    }
  }
}

TEST_P(Attention, BytesDoNotDependOnThreads) {
  expect_same_bytes_for_threads([&] {
    run();
    return std::tuple(out.bytes(), lse.bytes(), dqkv.bytes());
  });
}

TEST_P(Attention, ReferenceAgrees) {
  run();
  const at::Tensor library_out = out.doubles(), library_dqkv = dqkv.doubles();
  const ReferenceOps reference;
  run();
  const double bound = test.dtype == DType::kBf16 ? 4e-3 : 3e-6;
  EXPECT_LE(l2_error(out.tensor(), library_out), bound * library_out.norm().item<double>());
  EXPECT_LE(l2_error(dqkv.tensor(), library_dqkv), bound * library_dqkv.norm().item<double>());
}

// Other content in one sample changes no bit of any other.
TEST_P(Attention, SamplesDoNotSeeEachOther) {
  run();
  const at::Tensor out_before = out.tensor(), dqkv_before = dqkv.tensor();
  for (std::size_t changed = 0; changed + 1 < test.cu_seqlens.size(); ++changed) {
    const std::int64_t start = test.cu_seqlens[changed], end = test.cu_seqlens[changed + 1];
    const Matrix original = qkv;
    at::Tensor values = qkv.doubles();
    values.narrow(0, start, end - start).mul_(-3.0).add_(0.5);
    qkv.set(values);
    run();
    const auto same = [&](const at::Tensor& now, const at::Tensor& before, std::int64_t first, std::int64_t last) {
      return now.narrow(0, first, last - first).equal(before.narrow(0, first, last - first));
    };
    EXPECT_TRUE(same(out.tensor(), out_before, 0, start) && same(out.tensor(), out_before, end, tokens));
    EXPECT_TRUE(same(dqkv.tensor(), dqkv_before, 0, start) && same(dqkv.tensor(), dqkv_before, end, tokens));
    if (end - start > 1) {
      EXPECT_FALSE(same(out.tensor(), out_before, start, end)) << "the change itself must show";
    }
    qkv = original;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention, testing::ValuesIn(kCases));

// Scratch is a block of queries against the keys of one sample, which is far less than the square of the pack.
TEST(AttentionMemory, NoSquareOverThePackExists) {
  const std::int64_t tokens = 4096;
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 8};
  std::vector<std::int32_t> cu_seqlens;
  for (std::int32_t start = 0; start <= tokens; start += 256) cu_seqlens.push_back(start);
  const Matrix qkv = random_matrix(DType::kF32, tokens, 32, 1), dout = random_matrix(DType::kF32, tokens, 16, 2);
  Matrix out(DType::kF32, tokens, 16), lse(DType::kF32, 2, tokens), dqkv(DType::kF32, tokens, 32);
  TestContext context;
  attention(context, shape, qkv, cu_seqlens, out, lse);
  attention_backward(context, shape, qkv, cu_seqlens, out, lse, dout, std::nullopt, dqkv);
  EXPECT_LT(context.workspace.peak_bytes(), static_cast<std::size_t>(tokens * tokens) * sizeof(float) / 16);
}

TEST(AttentionChecks, WrongSampleBoundsAreRefused) {
  TestContext context;
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 8};
  const Matrix qkv(DType::kF32, 4, 32);
  Matrix out(DType::kF32, 4, 16), lse(DType::kF32, 2, 4);
  const auto run = [&](std::vector<std::int32_t> bounds) { attention(context, shape, qkv, bounds, out, lse); };
  EXPECT_ANY_THROW(run({}));
  EXPECT_ANY_THROW(run({0, 3}));
  EXPECT_ANY_THROW(run({1, 4}));
  EXPECT_ANY_THROW(run({0, 3, 2, 4}));
  EXPECT_NO_THROW(run({0, 3, 4}));
  EXPECT_ANY_THROW(
      attention(context, {.heads = 3, .kv_heads = 2, .head_dim = 8}, qkv, std::vector<std::int32_t>{0, 4}, out, lse));
}

// Mistral-7B: with one long sample, 96 blocks on 82 multiprocessors and 160 on 132 would leave the second wave nearly empty.
TEST(AttentionBackwardHeads, FillTheMultiprocessors) {
  const AttentionShape mistral{.heads = 32, .kv_heads = 8, .head_dim = 128};
  EXPECT_EQ(attention_backward_heads(mistral, 16384, 1, 82), 2) << "41 blocks a head";
  EXPECT_EQ(attention_backward_heads(mistral, 16384, 1, 132), 4) << "33 blocks a head";
  EXPECT_EQ(attention_backward_heads(mistral, 16384, 8, 82), 32);
  EXPECT_EQ(attention_backward_heads(mistral, 16384, 8, 132), 32) << "256 blocks fill two waves";
  EXPECT_EQ(attention_backward_heads(mistral, 16384, 200, 132), 32);
  EXPECT_EQ(attention_backward_heads(mistral, 64, 1, 132), 32) << "one tile of keys has nothing to share out";
  EXPECT_EQ(attention_backward_heads(mistral, 0, 0, 132), 32);
}

// What an answer must be, whatever the card.
TEST(AttentionBackwardHeads, AreWholeGroupsOrHalfOfOne) {
  for (const auto& [heads, kv_heads] : {std::pair{32, 8}, {32, 32}, {32, 1}, {12, 4}, {7, 7}, {40, 8}}) {
    for (const int sm_count : {1, 16, 58, 82, 128, 132, 188}) {
      for (const std::int64_t samples : {1, 2, 5}) {
        for (const std::int64_t window : {0, 4096}) {
          const std::int64_t count = attention_backward_heads({heads, kv_heads, 64, window}, 16384, samples, sm_count);
          ASSERT_EQ(heads % count, 0);
          const std::int64_t group = heads / kv_heads;
          ASSERT_TRUE(count % group == 0 || count * 2 == group) << heads << ' ' << kv_heads << ' ' << count;
        }
      }
    }
  }
}

}  // namespace
}  // namespace shori
