// Ops at the size of the real job, and with one token more and less, against the CPU: many blocks, partial last tiles,
// offsets past 2^31 bytes. They are meant for a GPU; the emulator tries them with SHORI_LARGE_TOKENS=257.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <optional>

#include "shori/ops/attention.h"
#include "shori/ops/embed.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "shori/util/text.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::floats;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

constexpr std::int64_t kHidden = 4096, kKv = 1024, kFeedForward = 14336, kRank = 20;

std::int64_t max_tokens() {
  const char* text = std::getenv("SHORI_LARGE_TOKENS");
  return text ? std::atoll(text) : 16384;
}

constexpr float kEps = 1e-5f;

std::size_t count_of(std::int64_t rows, std::int64_t cols) { return static_cast<std::size_t>(rows * cols); }

// Normal values that repeat with a period that no width divides. To draw every value would dominate the run time.
std::vector<Bf16> repeated(std::int64_t rows, std::int64_t cols, std::uint32_t seed, float deviation = 1.0f) {
  constexpr std::size_t kPeriod = 1000003;
  const std::vector<Bf16> chunk = testing::normal_bf16(std::min(kPeriod, count_of(rows, cols)), seed, deviation);
  std::vector<Bf16> values(count_of(rows, cols));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = chunk[i % chunk.size()];
  return values;
}
std::vector<Bf16> empty(std::int64_t rows, std::int64_t cols) { return std::vector<Bf16>(count_of(rows, cols)); }

class LargeShapes : public testing::DeviceTest {
 protected:
  // 16,383, 16,384 and 16,385 tokens, and fewer than a tile.
  template <class Check>
  void for_each_length(const Check& check) {
    const std::int64_t max = max_tokens();
    for (const std::int64_t tokens : {max - 1, max, max + 1, std::int64_t{63}, std::int64_t{1}}) {
      SCOPED_TRACE(concat(tokens, " tokens"));
      check(tokens);
    }
  }
};

TEST_F(LargeShapes, EmbedAndRmsNorm) {
  constexpr std::int64_t kVocabulary = 32000;
  TwinMatrix<Bf16> table(kVocabulary, kHidden, repeated(kVocabulary, kHidden, 1));
  TwinMatrix<Bf16> weight(1, kHidden, repeated(1, kHidden, 2));
  for_each_length([&](std::int64_t tokens) {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<std::int32_t>((i * 7919 + 31999) % kVocabulary));
    const DeviceArray<std::int32_t> device_ids(ids);
    TwinMatrix<Bf16> x(tokens, kHidden, empty(tokens, kHidden)), delta(tokens, kHidden, repeated(tokens, kHidden, 3));
    TwinMatrix<Bf16> h(tokens, kHidden, empty(tokens, kHidden)), y(tokens, kHidden, empty(tokens, kHidden));
    embed(cpu(), table.host(), ids, x.host());
    rms_norm(cpu(), x.host(), delta.host(), h.host(), weight.host(), kEps, y.host());
    embed(device(), table.device(), {ids, device_ids.get()}, x.device());
    rms_norm(device(), x.device(), delta.device(), h.device(), weight.device(), kEps, y.device());
    EXPECT_TRUE(x.device_values() == x.host_values()) << "rows are copied";
    EXPECT_TRUE(h.device_values() == h.host_values()) << "the residual add is exact";
    testing::expect_two_roundings(y.device_values(), y.host_values());  // sums of squares have different orders
  });
}

TEST_F(LargeShapes, RopeEqualsTheCpuToTheBit) {
  constexpr std::int64_t kHeads = 40, kHeadDim = 128;
  for_each_length([&](std::int64_t tokens) {
    RopeTable table = make_rope_table(DType::kBf16, tokens, kHeadDim, 1e6);
    const DeviceArray<std::byte> cos(table.cos), sin(table.sin);
    table.device_cos = cos.get();
    table.device_sin = sin.get();
    std::vector<std::int32_t> positions;
    for (std::int64_t i = 0; i < tokens; ++i) positions.push_back(static_cast<std::int32_t>(i));
    const DeviceArray<std::int32_t> device_positions(positions);
    TwinMatrix<Bf16> heads(tokens, kHeads * kHeadDim, repeated(tokens, kHeads * kHeadDim, 4));
    rope(device(), table, {positions, device_positions.get()}, false, heads.device());
    rope(cpu(), table, positions, false, heads.host());
    EXPECT_TRUE(heads.device_values() == heads.host_values());
  });
}

TEST_F(LargeShapes, Swiglu) {
  for_each_length([&](std::int64_t tokens) {
    TwinMatrix<Bf16> gate_up(tokens, 2 * kFeedForward, repeated(tokens, 2 * kFeedForward, 5));
    TwinMatrix<Bf16> p(tokens, kFeedForward, empty(tokens, kFeedForward));
    swiglu(cpu(), gate_up.host(), p.host());
    swiglu(device(), gate_up.device(), p.device());
    // expf may be an ulp or two of fp32 apart, which moves a tie of bf16 in silu and then the product.
    EXPECT_LE(relative_error(floats(p.device_values()), floats(p.host_values())), 1e-3);
  });
}

// q, k, v with dropout: xA, the product of fused rows, and the gradient of the fused input.
TEST_F(LargeShapes, LinearsWithLora) {
  const TwinGroup group(kHidden, kRank, {{kQ, kHidden}, {kK, kKv}, {kV, kKv}}, TwinWeights::kNf4, 10);
  const DropoutKey dropout{.seed = 7, .step = 3, .layer = 31, .probability = 0.1f};
  const std::int64_t in = group.host().fused_in(), out = group.host().out();
  for_each_length([&](std::int64_t tokens) {
    const std::size_t bytes = std::max(
        {nf4_linear_workspace_bytes(out, in), lora_down_workspace_bytes(tokens, group.host().lora_count(), kRank),
         lora_grad_workspace_bytes(tokens, in, kRank), lora_grad_workspace_bytes(tokens, out, kRank)});
    TwinMatrix<Bf16> x(tokens, in, repeated(tokens, in, 6)), y(tokens, out, empty(tokens, out));
    lora_down(cpu(), group.host(), dropout, x.host());
    nf4_linear(cpu(), group.host(), x.host(), y.host());
    const OpContext context = device(bytes);
    lora_down(context, group.device(), dropout, x.device());
    nf4_linear(context, group.device(), x.device(), y.device());
    // Sums of 4,096 products in another order, rounded once; xA is rounded to bf16 before it is used again.
    EXPECT_LE(relative_error(floats(x.device_values()), floats(x.host_values())), 1e-3);
    EXPECT_LE(relative_error(floats(y.device_values()), floats(y.host_values())), 2e-3);

    TwinMatrix<Bf16> dy(tokens, out, repeated(tokens, out, 8)), dx(tokens, in, empty(tokens, in));
    nf4_linear_backward(cpu(), group.host(), dy.host(), dx.host());
    nf4_linear_backward(context, group.device(), dy.device(), dx.device());
    EXPECT_LE(relative_error(floats(dx.device_values()), floats(dx.host_values())), 2e-3);
  });
}

struct Pack {
  const char* name;
  std::vector<std::int64_t> shares;  // lengths of samples, in parts of the pack
  std::int64_t window = 0;
};

TEST_F(LargeShapes, Attention) {
  constexpr std::int64_t kColumns = (8 + 2 * 2) * 128, kOut = 8 * 128;
  for (const Pack& pack : {Pack{"one sample", {1}}, Pack{"eight samples", {1, 1, 1, 1, 1, 1, 1, 1}},
                           Pack{"long and short ones", {9, 4, 2, 1}},
                           Pack{"a window shorter than the long samples", {9, 4, 2, 1}, max_tokens() / 4}}) {
    SCOPED_TRACE(pack.name);
    const AttentionShape shape{.heads = 8, .kv_heads = 2, .head_dim = 128, .window = pack.window};
    const std::int64_t parts = std::accumulate(pack.shares.begin(), pack.shares.end(), std::int64_t{0});
    std::vector<std::int32_t> ends = {0, 1};  // the first sample has one token
    std::int64_t sum = 0;
    for (const std::int64_t share : pack.shares) {
      sum += share;
      ends.push_back(static_cast<std::int32_t>(std::max(max_tokens() * sum / parts, std::int64_t{ends.back()} + 1)));
    }
    const std::int64_t tokens = ends.back();
    const DeviceArray<std::int32_t> on_device(ends);
    const Int32Array cu(ends), device_cu(ends, on_device.get());
    TwinMatrix<Bf16> qkv(tokens, kColumns, repeated(tokens, kColumns, 9)), out(tokens, kOut, empty(tokens, kOut));
    TwinMatrix<float> lse(8, tokens, std::vector<float>(count_of(8, tokens)));
    TwinMatrix<Bf16> dout(tokens, kOut, repeated(tokens, kOut, 10)), dqkv(tokens, kColumns, empty(tokens, kColumns));
    attention(cpu(), shape, qkv.host(), cu, out.host(), lse.host());
    attention_backward(cpu(), shape, qkv.host(), cu, out.host(), lse.host(), dout.host(), std::nullopt, dqkv.host());
    const OpContext context = device(attention_backward_workspace_bytes(tokens, kOut) + (std::size_t{8} << 20));
    attention(context, shape, qkv.device(), device_cu, out.device(), lse.device());
    attention_backward(context, shape, qkv.device(), device_cu, out.device(), lse.device(), dout.device(), std::nullopt,
                       dqkv.device());
    // FlashAttention rounds the probabilities to bf16 before it multiplies, the CPU version does not.
    EXPECT_LE(relative_error(floats(out.device_values()), floats(out.host_values())), 5e-3);
    EXPECT_LE(relative_error(lse.device_values(), lse.host_values()), 1e-3);
    EXPECT_LE(relative_error(floats(dqkv.device_values()), floats(dqkv.host_values())), 1e-2);
  }
}

}  // namespace
}  // namespace shori
