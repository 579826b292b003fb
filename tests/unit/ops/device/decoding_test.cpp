// The ops of decoding on the device against their CPU versions: linears for few tokens, and attention over the cache.
#include "shori/ops/cached_attention.h"
#include "shori/ops/decode_linear.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::normal_bf16;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using DecodingDevice = testing::DeviceTest;

struct LinearCase {
  const char* why;
  std::int64_t tokens, in, rank;
  std::vector<ModuleShape> modules;
  TwinWeights weights = TwinWeights::kNf4;
};

TEST_F(DecodingDevice, LinearMatchesCpu) {
  const LinearCase cases[] = {
      {.why = "one token; k has no LoRA",
       .tokens = 1,
       .in = 128,
       .rank = 20,
       .modules = {{kQ, 128}, {kK, 64, kNoLora}, {kV, 64}}},
      {.why = "all tokens; rows that fill no block of threads; flat scales",
       .tokens = 8,
       .in = 192,
       .rank = 8,
       .modules = {{kGate, 200}, {kUp, 200}},
       .weights = TwinWeights::kNf4FlatScales},
      {.why = "rows that are not whole quantization blocks",
       .tokens = 2,
       .in = 96,
       .rank = 4,
       .modules = {{kDown, 64}}},
      {.why = "a dense weight; rank 1",
       .tokens = 3,
       .in = 64,
       .rank = 1,
       .modules = {{kO, 72}},
       .weights = TwinWeights::kBf16},
  };
  for (const auto& [why, tokens, in, rank, modules, weights] : cases) {
    SCOPED_TRACE(why);
    const TwinGroup group(in, rank, modules, weights, 1);
    const std::int64_t fused = group.host().fused_in(), out = group.host().out();
    TwinMatrix<Bf16> x(tokens, fused, normal_bf16(static_cast<std::size_t>(tokens * fused), 2));
    TwinMatrix<Bf16> y(tokens, out, std::vector<Bf16>(static_cast<std::size_t>(tokens * out)));
    decode_linear(cpu(), group.host(), x.host(), y.host());
    const std::size_t bytes = decode_linear_workspace_bytes(group.device());
    for_each_schedule([&] {
      decode_linear(device(bytes + 256), group.device(), x.device(), y.device());
      // Two roundings to bf16 instead of one.
      EXPECT_LE(testing::relative_error(testing::floats(y.device_values()), testing::floats(y.host_values())), 4e-3);
    });
  }
}

struct AttentionCase {
  const char* why;
  std::int64_t first, tokens;
  AttentionShape shape;
};

TEST_F(DecodingDevice, CachedAttentionMatchesCpu) {
  constexpr AttentionCase kCases[] = {
      {.why = "the first token", .first = 0, .tokens = 1, .shape = {.heads = 2, .kv_heads = 1, .head_dim = 16}},
      {.why = "fewer keys than warps take at once",
       .first = 5,
       .tokens = 1,
       .shape = {.heads = 4, .kv_heads = 2, .head_dim = 64}},
      {.why = "several tokens; the largest head",
       .first = 37,
       .tokens = 7,
       .shape = {.heads = 2, .kv_heads = 2, .head_dim = 256}},
      {.why = "a window", .first = 60, .tokens = 9, .shape = {.heads = 4, .kv_heads = 1, .head_dim = 32, .window = 20}},
      {.why = "a window that is not full yet",
       .first = 0,
       .tokens = 12,
       .shape = {.heads = 2, .kv_heads = 1, .head_dim = 24, .window = 8}},
  };
  for (const auto& [why, first, tokens, shape] : kCases) {
    SCOPED_TRACE(why);
    const std::int64_t positions = first + tokens + 3, rows = shape.kv_heads * positions, dim = shape.head_dim;
    const std::int64_t width = (shape.heads + 2 * shape.kv_heads) * dim;
    TwinMatrix<Bf16> qkv(tokens, width, normal_bf16(static_cast<std::size_t>(tokens * width), 1));
    TwinMatrix<Bf16> keys(rows, dim, normal_bf16(static_cast<std::size_t>(rows * dim), 2));
    TwinMatrix<Bf16> values(rows, dim, normal_bf16(static_cast<std::size_t>(rows * dim), 3));
    TwinMatrix<Bf16> out(tokens, shape.heads * dim,
                         std::vector<Bf16>(static_cast<std::size_t>(tokens * shape.heads * dim)));
    cached_attention(cpu(), shape, qkv.host(), {keys.host(), values.host(), positions}, first, out.host());
    std::vector<Bf16> got;
    for_each_schedule([&] {
      cached_attention(device(kSmallWorkspace), shape, qkv.device(), {keys.device(), values.device(), positions}, first,
                       out.device());
      EXPECT_LE(testing::relative_error(testing::floats(out.device_values()), testing::floats(out.host_values())),
                3e-3);
      if (got.empty()) got = out.device_values();
      ASSERT_EQ(out.device_values(), got) << "another schedule gave other bits";
      ASSERT_EQ(keys.device_values(), keys.host_values());
      ASSERT_EQ(values.device_values(), values.host_values());
    });
  }
}

}  // namespace
}  // namespace shori
