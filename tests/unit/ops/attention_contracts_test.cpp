// Each rule of the operands of attention, its backward pass and attention over the cache is broken once.
#include <gtest/gtest.h>

#include <vector>

#include "shori/ops/attention.h"
#include "shori/ops/cached_attention.h"
#include "shori/ops/device_limits.h"
#include "tests/support/contract.h"

namespace shori {
namespace {

using namespace testing;  // NOLINT: all of it is of contracts

struct Attention : GradientOperands {
  // The result of attention is the input of a group of its own: two heads of 8.
  AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 8};
  Zeros qkv{DType::kBf16, kTokens, 32}, dqkv{DType::kBf16, kTokens, 32}, out{DType::kBf16, kTokens, kColumns},
      lse{DType::kF32, 2, kTokens};
  Integers bounds{{0, 1, 2}};
  static void run(Attention& o) { attention(o.context, o.shape, o.qkv, o.bounds.array(), o.out, o.lse); }
  static void run_backward(Attention& o) {
    attention_backward(o.context, o.shape, o.qkv, o.bounds.array(), o.out, o.lse, o.fused, o.lora(), o.dqkv);
  }
  void set_head_dim(std::int64_t size) {
    shape.head_dim = size;
    for (TensorView* view : {&qkv, &dqkv}) view->cols = view->stride = 4 * size;
    out.cols = out.stride = 2 * size;
  }
};

// Both passes check these in the same way.
const std::vector<Violation<Attention>> kOnCpu = {
    {"needs a workspace", [](Attention& o) { o.context.workspace = nullptr; }},
    {"heads must be a multiple", [](Attention& o) { o.shape.heads = 3, o.shape.kv_heads = 2; }},
    {"heads must be a multiple", [](Attention& o) { o.shape.heads = 0; }},
    {"heads must be a multiple", [](Attention& o) { o.shape.window = -1; }},
    {"qkv must be bf16 or fp32", [](Attention& o) { o.qkv.dtype = DType::kI32; }},
    {"qkv is [2, 24]", [](Attention& o) { o.qkv.cols = 24; }},
    {"from 0 to the number of tokens", [](Attention& o) { o.bounds.values.clear(); }},
    {"from 0 to the number of tokens", [](Attention& o) { o.bounds.values.front() = 1; }},
    {"from 0 to the number of tokens", [](Attention& o) { o.bounds.values.back() = 1; }},
    {"must not fall", [](Attention& o) { o.bounds.values[1] = 3; }},
    {"out is [2, 8]", [](Attention& o) { o.out.cols = 8; }},
    {"lse is [1, 2]", [](Attention& o) { o.lse.rows = 1; }}};

const std::vector<Violation<Attention>> kOnDevice = {
    {"qkv needs columns", [](Attention& o) { o.qkv.stride = 36; }},
    {"head sizes that are multiples of 8", [](Attention& o) { o.set_head_dim(4); }},
    {"head sizes that are multiples of 8", [](Attention& o) { o.set_head_dim(kMaxDeviceHeadDim + 8); }},
    {"cu_seqlens must be on the device", [](Attention& o) { o.bounds.on_device = false; }}};

TEST(Contracts, Attention) {
  using O = Attention;
  expect_refusals<O>(Device::kCpu, O::run, kOnCpu);
  expect_refusals<O>(Device::kCuda, O::run, kOnDevice);
  expect_refusals<O>(Device::kCuda, O::run, {{"the result needs columns", [](O& o) { o.out.stride = kOddStride; }}});
  expect_refusals<O>(Device::kCpu, O::run_backward, kOnCpu);
  expect_refusals<O>(Device::kCpu, O::run_backward,
                     {{"dqkv is [1, 32]", [](O& o) { o.dqkv.rows = 1; }},
                      {"dout does not fit qkv", [](O& o) { o.fused.rows = 1; }},
                      {"dout does not fit qkv", [](O& o) { o.fused.dtype = DType::kF32; }},
                      {"the LoRA group has another input size", [](O& o) { o.modules[0].weight.cols = 24; }}});
  expect_refusals<O>(Device::kCuda, O::run_backward, kOnDevice);
  expect_refusals<O>(Device::kCuda, O::run_backward,
                     {{"the result needs columns", [](O& o) { o.dqkv.stride = 36; }},
                      {"the LoRA group has another input size", [](O& o) { o.modules[0].weight.cols = 24; }}});
}

TEST(Contracts, CheckOfDeviceAttentionNeedsADevice) {
  Attention operands;
  EXPECT_THROW(check_device_attention(operands.context, operands.shape), Error);
}

struct Cached : OpOperands {
  static constexpr std::int64_t kPositions = 4;
  AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 8};
  Zeros qkv{DType::kBf16, kTokens, 32}, out{DType::kBf16, kTokens, kColumns}, keys{DType::kBf16, kPositions, 8},
      values{DType::kBf16, kPositions, 8};
  std::int64_t first = kPositions - kTokens;
  static void run(Cached& o) {
    cached_attention(o.context, o.shape, o.qkv, {o.keys, o.values, kPositions}, o.first, o.out);
  }
  void set_head_dim(std::int64_t size) {
    shape.head_dim = size;
    qkv.cols = qkv.stride = 4 * size;
    out.cols = out.stride = 2 * size;
    for (TensorView* view : {&keys, &values}) view->cols = view->stride = size;
  }
};

TEST(Contracts, CachedAttention) {
  using O = Cached;
  expect_refusals<O>(Device::kCpu, O::run,
                     {{"cached_attention needs a workspace", [](O& o) { o.context.workspace = nullptr; }},
                      {"heads must be a multiple", [](O& o) { o.shape.heads = 3, o.shape.kv_heads = 2; }},
                      {"heads must be a multiple", [](O& o) { o.shape.window = -1; }},
                      {"qkv must be bf16 or fp32", [](O& o) { o.qkv.dtype = DType::kI32; }},
                      {"qkv is [2, 24]", [](O& o) { o.qkv.cols = 24; }},
                      {"out is [1, 16]", [](O& o) { o.out.rows = 1; }},
                      {"the cache is [3, 8]", [](O& o) { o.keys.rows = 3; }},
                      {"the cache has the wrong dtype", [](O& o) { o.values.dtype = DType::kF32; }},
                      {"no gaps between rows", [](O& o) { o.values.stride = 16; }},
                      {"the cache is full", [](O& o) { ++o.first; }},
                      {"the cache is full", [](O& o) { o.first = -1; }}});
  expect_refusals<O>(Device::kCuda, O::run,
                     {{"qkv needs columns", [](O& o) { o.qkv.stride = 36; }},
                      {"out needs columns", [](O& o) { o.out.stride = kOddStride; }},
                      {"head sizes that are multiples of 8", [](O& o) { o.set_head_dim(4); }},
                      {"head sizes that are multiples of 8", [](O& o) { o.set_head_dim(kMaxDeviceHeadDim + 8); }}});
}

}  // namespace
}  // namespace shori
