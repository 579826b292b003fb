// Attention on the device against the CPU version, with and without a window, and that it repeats to the bit.
#include "shori/ops/attention.h"

#include <algorithm>

#include "kernels/attention/device_attention.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::floats;
using testing::normal_bf16;
using testing::relative_error;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using AttentionDevice = DeviceTest;

std::size_t count_of(std::int64_t rows, std::int64_t cols) { return static_cast<std::size_t>(rows * cols); }

// Attention and the gradient through it, on both sides. One sample has a single token, and no tile of rows is full at the end.
struct AttentionTwins {
  AttentionShape shape;
  std::vector<std::int32_t> bounds;
  std::int64_t tokens = bounds.back(), cols = shape.heads * shape.head_dim;
  std::int64_t qkv_cols = (shape.heads + 2 * shape.kv_heads) * shape.head_dim, out_stride = cols + 32;
  DeviceArray<std::int32_t> device_bounds{bounds};
  TwinGroup group{cols, 20, {{kO, 16}}, TwinWeights::kBf16, 1};
  TwinMatrix<Bf16> qkv{tokens, qkv_cols, normal_bf16(count_of(tokens, qkv_cols), 2)};
  TwinMatrix<Bf16> out{tokens, cols, std::vector<Bf16>(count_of(tokens, out_stride)), out_stride};
  TwinMatrix<float> lse{shape.heads, tokens, std::vector<float>(count_of(shape.heads, tokens))};
  TwinMatrix<Bf16> dout{tokens, group.host().fused_in(), normal_bf16(count_of(tokens, group.host().fused_in()), 3)};
  TwinMatrix<Bf16> dqkv{tokens, qkv_cols, std::vector<Bf16>(count_of(tokens, qkv_cols))};
  DropoutKey key{.seed = 7, .step = 3, .layer = 5, .probability = 0.1f};

  explicit AttentionTwins(const AttentionShape& shape, std::vector<std::int32_t> bounds = {0, 1, 64, 83})
      : shape(shape), bounds(std::move(bounds)) {}

  void run_on_cpu(const OpContext& cpu) {
    attention(cpu, shape, qkv.host(), Int32Array(bounds), out.host(), lse.host());
    attention_backward(cpu, shape, qkv.host(), Int32Array(bounds), out.host(), lse.host(), dout.host(),
                       LoraInputGradient{&group.host(), key}, dqkv.host());
  }
  void run_on_device(const OpContext& context) {
    const Int32Array cu(bounds, device_bounds.get());
    attention(context, shape, qkv.device(), cu, out.device(), lse.device());
    attention_backward(context, shape, qkv.device(), cu, out.device(), lse.device(), dout.device(),
                       LoraInputGradient{&group.device(), key}, dqkv.device());
  }
};

// The library rounds probabilities, and the gradient of the scores, to bf16 before it multiplies them, and the gradients of
// each query head before it adds them.
TEST_F(AttentionDevice, MatchesCpu) {
  std::vector<std::vector<Bf16>> outputs;
  for (const std::int64_t window : {0, 1, 20, 200}) {
    SCOPED_TRACE(concat("window ", window));
    AttentionTwins twins({4, 2, 16, window});
    twins.run_on_cpu(cpu());
    twins.run_on_device(device());
    EXPECT_LT(relative_error(floats(twins.out.device_values()), floats(twins.out.host_values())), 5e-3);
    EXPECT_LT(relative_error(twins.lse.device_values(), twins.lse.host_values()), 1e-3);
    EXPECT_LT(relative_error(floats(twins.dqkv.device_values()), floats(twins.dqkv.host_values())), 1e-2);
    outputs.push_back(twins.out.device_values());
  }
  EXPECT_EQ(outputs[3], outputs[0]) << "a window that is longer than every sample hides nothing";
  EXPECT_NE(outputs[2], outputs[0]);
}

// One sample of four tiles of keys: 42 heads leave most of 82 multiprocessors to a second wave, 21 do not.
TEST_F(AttentionDevice, MatchesCpuInTwoCalls) {
  const AttentionShape shape{.heads = 42, .kv_heads = 1, .head_dim = 8};
  if (open_device().sm_count == 82) {
    ASSERT_EQ(attention_backward_heads(shape, 512, 1, 82), 21);
  }
  AttentionTwins twins(shape, {0, 512});
  twins.run_on_cpu(cpu());
  twins.run_on_device(device());
  EXPECT_LT(relative_error(floats(twins.dqkv.device_values()), floats(twins.dqkv.host_values())), 1e-2);
}

// Mistral's size of a head.
TEST_F(AttentionDevice, RepeatsToTheBit) {
  for (const std::int64_t window : {0, 20}) {
    SCOPED_TRACE(concat("window ", window));
    AttentionTwins first({4, 2, 128, window}), again({4, 2, 128, window});
    first.run_on_device(device());
    again.run_on_device(device());
    EXPECT_EQ(first.out.device_values(), again.out.device_values());
    EXPECT_EQ(first.lse.device_values(), again.lse.device_values());
    EXPECT_EQ(first.dqkv.device_values(), again.dqkv.device_values());
  }
}

// Calls on fewer heads give the same gradient; those of one group add to dk and dv in order.
TEST_F(AttentionDevice, BackwardInRangesOfHeads) {
  AttentionTwins twins({8, 2, 16, 0});
  twins.run_on_device(device());
  const OpContext context = device();
  // The library reads the output without gaps between rows.
  std::vector<Bf16> whole_out(count_of(twins.tokens, twins.cols));
  const std::vector<Bf16> out = twins.out.device_values();
  for (std::int64_t row = 0; row < twins.tokens; ++row) {
    std::copy_n(out.begin() + row * twins.out_stride, twins.cols, whole_out.begin() + row * twins.cols);
  }
  TwinMatrix<Bf16> dense_out(twins.tokens, twins.cols, whole_out);
  TwinMatrix<Bf16> dout(twins.tokens, twins.cols, normal_bf16(count_of(twins.tokens, twins.cols), 4));
  const Int32Array cu(twins.bounds, twins.device_bounds.get());
  std::vector<std::vector<float>> gradients;
  for (const std::int64_t count : {8, 4, 2}) {
    TwinMatrix<Bf16> dqkv(twins.tokens, twins.qkv_cols, std::vector<Bf16>(count_of(twins.tokens, twins.qkv_cols)));
    for (std::int64_t first = 0; first < 8; first += count) {
      device_attention_backward(context, twins.shape, {first, count, first % 4 != 0}, twins.qkv.device(), cu,
                                dense_out.device(), twins.lse.device(), dout.device(), dqkv.device());
    }
    gradients.push_back(floats(dqkv.device_values()));
  }
  EXPECT_LT(relative_error(gradients[1], gradients[0]), 1e-3);
  EXPECT_LT(relative_error(gradients[2], gradients[0]), 3e-3) << "dk and dv are rounded once more";
}

TEST_F(AttentionDevice, IsComparedBeforeTraining) {
  for (const std::int64_t window : {0, 20, 100, 4096}) check_device_attention(device(), {4, 2, 16, window});
}

}  // namespace
}  // namespace shori
