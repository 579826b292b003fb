// Times of the ops at the shapes of the quick-start model: hidden 128, feed-forward 448, 4 query and 2 key/value heads
// of 32, vocabulary 32,000, rank 20, packs of 1,024 tokens. Arguments: 0 = bf16, 1 = fp32.
#include <benchmark/benchmark.h>

#include "shori/ops/adamw8bit.h"
#include "shori/ops/attention.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "tests/support/ops_linear.h"
#include "tests/support/ops_matrix.h"

namespace shori {
namespace {

constexpr std::int64_t kTokens = 1024, kHidden = 128, kFeedForward = 448, kVocabulary = 32000, kRank = 20;
constexpr AttentionShape kAttention{.heads = 4, .kv_heads = 2, .head_dim = 32};
constexpr DropoutKey kDropout{.seed = 1, .step = 1, .probability = 0.1f};

DType dtype_of(const benchmark::State& state) { return state.range(0) == 0 ? DType::kBf16 : DType::kF32; }
void tokens_processed(benchmark::State& state) { state.SetItemsProcessed(state.iterations() * kTokens); }

TestGroup gate_up(DType dtype) {
  return {dtype, kHidden, kRank, {{kGate, kFeedForward}, {kUp, kFeedForward}}, WeightKind::kNf4, 1};
}

void head_and_loss(benchmark::State& state) {
  TestContext context;
  const Matrix h = random_matrix(dtype_of(state), kTokens, kHidden, 1);
  const Matrix weight = random_matrix(dtype_of(state), kVocabulary, kHidden, 2, 0.1);
  Matrix dh(dtype_of(state), kTokens, kHidden);
  const std::vector<std::int32_t> targets(kTokens, 17);
  std::vector<float> losses(kTokens);
  for (auto _ : state) head_loss(context, h, weight, targets, 1e-3, losses, dh.view());
  tokens_processed(state);
}
BENCHMARK(head_and_loss)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void attention_forward(benchmark::State& state) {
  TestContext context;
  const Matrix qkv = random_matrix(dtype_of(state), kTokens, 256, 1);
  Matrix out(dtype_of(state), kTokens, kHidden), lse(DType::kF32, 4, kTokens);
  const std::vector<std::int32_t> samples{0, 600, 1024};
  for (auto _ : state) attention(context, kAttention, qkv, samples, out, lse);
  tokens_processed(state);
}
BENCHMARK(attention_forward)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void attention_gradient(benchmark::State& state) {
  TestContext context;
  const Matrix qkv = random_matrix(dtype_of(state), kTokens, 256, 1),
               dout = random_matrix(dtype_of(state), kTokens, kHidden, 2);
  Matrix out(dtype_of(state), kTokens, kHidden), lse(DType::kF32, 4, kTokens), dqkv(dtype_of(state), kTokens, 256);
  const std::vector<std::int32_t> samples{0, 600, 1024};
  attention(context, kAttention, qkv, samples, out, lse);
  for (auto _ : state) attention_backward(context, kAttention, qkv, samples, out, lse, dout, std::nullopt, dqkv);
  tokens_processed(state);
}
BENCHMARK(attention_gradient)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void linear_forward(benchmark::State& state) {
  TestContext context;
  const TestGroup linears = gate_up(dtype_of(state));
  const Matrix x = random_matrix(dtype_of(state), kTokens, kHidden + 64, 1);
  Matrix y(dtype_of(state), kTokens, 2 * kFeedForward);
  for (auto _ : state) nf4_linear(context, linears.group(), x, y);
  tokens_processed(state);
}
BENCHMARK(linear_forward)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void linear_gradient(benchmark::State& state) {
  TestContext context;
  const TestGroup linears = gate_up(dtype_of(state));
  const Matrix dy = random_matrix(dtype_of(state), kTokens, 2 * kFeedForward, 1);
  Matrix dx(dtype_of(state), kTokens, kHidden + 64);
  for (auto _ : state) nf4_linear_backward(context, linears.group(), dy, dx);
  tokens_processed(state);
}
BENCHMARK(linear_gradient)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void down_factor(benchmark::State& state) {
  TestContext context;
  const TestGroup linears = gate_up(dtype_of(state));
  Matrix x = random_matrix(dtype_of(state), kTokens, kHidden + 64, 1);
  for (auto _ : state) lora_down(context, linears.group(), kDropout, x);
  tokens_processed(state);
}
BENCHMARK(down_factor)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void factor_gradients(benchmark::State& state) {
  TestContext context;
  const TestGroup linears = gate_up(dtype_of(state));
  const Matrix x = random_matrix(dtype_of(state), kTokens, kHidden + 64, 1),
               dx = random_matrix(dtype_of(state), kTokens, kHidden + 64, 2);
  const Matrix dy = random_matrix(dtype_of(state), kTokens, 2 * kFeedForward, 3);
  for (auto _ : state) {
    lora_grad_a(context, linears.group(), kDropout, x, dx);
    lora_grad_b(context, linears.group(), x, dy);
  }
  tokens_processed(state);
}
BENCHMARK(factor_gradients)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void norm_forward(benchmark::State& state) {
  TestContext context;
  const Matrix x = random_matrix(dtype_of(state), kTokens, kHidden, 1),
               weight = random_matrix(dtype_of(state), 1, kHidden, 2);
  Matrix h(dtype_of(state), kTokens, kHidden), y(dtype_of(state), kTokens, kHidden, 64);
  for (auto _ : state) rms_norm(context, x, ConstTensorView(x), h.view(), weight, 1e-5f, y);
  tokens_processed(state);
}
BENCHMARK(norm_forward)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void norm_gradient(benchmark::State& state) {
  TestContext context;
  const TestGroup linears = gate_up(dtype_of(state));
  const Matrix h = random_matrix(dtype_of(state), kTokens, kHidden, 1),
               weight = random_matrix(dtype_of(state), 1, kHidden, 2);
  const Matrix dy = random_matrix(dtype_of(state), kTokens, kHidden + 64, 3);
  Matrix dh(dtype_of(state), kTokens, kHidden);
  const LoraInputGradient lora{&linears.group(), kDropout};
  for (auto _ : state) rms_norm_backward(context, h, weight, 1e-5f, dy, lora, ConstTensorView(h), dh);
  tokens_processed(state);
}
BENCHMARK(norm_gradient)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void swiglu_forward_and_gradient(benchmark::State& state) {
  TestContext context;
  Matrix values = random_matrix(dtype_of(state), kTokens, 2 * kFeedForward, 1),
         p(dtype_of(state), kTokens, kFeedForward);
  const TestGroup linears(dtype_of(state), kFeedForward, kRank, {{kDown, kHidden}}, WeightKind::kNf4, 1);
  const Matrix dp = random_matrix(dtype_of(state), kTokens, kFeedForward + 32, 2);
  const LoraInputGradient lora{&linears.group(), kDropout};
  for (auto _ : state) {
    swiglu(context, values, p);
    swiglu_backward(context, dp, lora, values);
  }
  tokens_processed(state);
}
BENCHMARK(swiglu_forward_and_gradient)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void rotation(benchmark::State& state) {
  TestContext context;
  const RopeTable table = make_rope_table(dtype_of(state), kTokens, 32, 1e6);
  Matrix heads = random_matrix(dtype_of(state), kTokens, 192, 1);
  std::vector<std::int32_t> positions(kTokens);
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int32_t>(i);
  for (auto _ : state) rope(context, table, positions, false, heads);
  tokens_processed(state);
}
BENCHMARK(rotation)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

// Elements a second of the optimizer.
void optimizer(benchmark::State& state) {
  constexpr std::int64_t kCount = 1 << 18;
  TestContext context;
  Matrix p(DType::kF32, 1, kCount);
  const Matrix g = random_matrix(DType::kF32, 1, kCount, 1);
  std::vector<std::uint8_t> m(kCount), v(kCount);
  std::vector<float> m_absmax(kCount / 256), v_absmax(kCount / 256);
  AdamTensor tensor{
      .parameter = p.view().row<float>(0), .gradient = g.view().row<float>(0), .count = kCount, .step = 1};
  tensor.m_codes = m.data();
  tensor.v_codes = v.data();
  tensor.m_absmax = m_absmax.data();
  tensor.v_absmax = v_absmax.data();
  for (auto _ : state) {
    adamw8bit(context, {.learning_rate = 1e-3f}, {&tensor, 1});
    ++tensor.step;
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(optimizer)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace shori
