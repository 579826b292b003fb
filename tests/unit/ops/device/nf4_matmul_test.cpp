// The product for few tokens on the device against the CPU version.
#include "shori/ops/nf4_matmul.h"

#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::normal_bf16;
using testing::TwinGroup;
using testing::TwinMatrix;
using testing::TwinWeights;

using Nf4MatmulDevice = testing::DeviceTest;

struct Case {
  const char* why;
  std::int64_t tokens, out, in;
  TwinWeights weights = TwinWeights::kNf4;
};

constexpr Case kCases[] = {
    {.why = "one token, one chunk of columns", .tokens = 1, .out = 64, .in = 64},
    {.why = "all tokens of the tile of 8; rows that fill no tile; flat scales",
     .tokens = 8,
     .out = 72,
     .in = 320,
     .weights = TwinWeights::kNf4FlatScales},
    {.why = "the fewest tokens of the tile of 16; splits of unequal size", .tokens = 9, .out = 8, .in = 704},
    {.why = "all tokens of the tile of 16; flat scales",
     .tokens = 16,
     .out = 128,
     .in = 128,
     .weights = TwinWeights::kNf4FlatScales},
    {.why = "some tokens of the tile of 32", .tokens = 31, .out = 200, .in = 192},
    {.why = "the fewest tokens of the tile of 64", .tokens = 33, .out = 64, .in = 256},
    {.why = "all tokens of the tile of 64; flat scales",
     .tokens = 64,
     .out = 64,
     .in = 128,
     .weights = TwinWeights::kNf4FlatScales},
    {.why = "the fewest tokens of the tile of 128", .tokens = 65, .out = 136, .in = 192},
    {.why = "all tokens of the tile of 128", .tokens = 128, .out = 64, .in = 128},
    {.why = "so many rows that one split is enough", .tokens = 3, .out = 8512, .in = 64},
    {.why = "8 splits of 5 chunks", .tokens = 5, .out = 64, .in = 2560},
    {.why = "splits of unequal size, tile of 32; flat scales",
     .tokens = 20,
     .out = 8,
     .in = 2624,
     .weights = TwinWeights::kNf4FlatScales},
    {.why = "splits of unequal size, tile of 64", .tokens = 40, .out = 8, .in = 1664},
    {.why = "splits of unequal size, tile of 128", .tokens = 100, .out = 8, .in = 2112},
};

TEST_F(Nf4MatmulDevice, MatchesCpu) {
  constexpr std::int64_t kGap = 8;  // elements between rows
  for (const auto& [why, tokens, out, in, weights] : kCases) {
    SCOPED_TRACE(why);
    const TwinGroup group(in, 0, {{kO, out, kNoLora}}, weights, 1);
    TwinMatrix<Bf16> x(tokens, in, normal_bf16(static_cast<std::size_t>(tokens * (in + kGap)), 2), in + kGap);
    TwinMatrix<Bf16> y(tokens, out, std::vector<Bf16>(static_cast<std::size_t>(tokens * (out + kGap))), out + kGap);
    nf4_matmul(cpu(), group.host().modules.front().weight, x.host(), y.host());
    const std::vector<float> expected = testing::floats(y.host_values());
    const std::size_t bytes = nf4_matmul_workspace_bytes(tokens, out, in);
    std::vector<Bf16> first;
    for_each_schedule([&] {
      nf4_matmul(device(bytes + 256), group.device().modules.front().weight, x.device(), y.device());
      EXPECT_LE(device_workspace().peak_bytes(), bytes);
      const std::vector<Bf16> got = y.device_values();
      // Sums of up to 2,624 products in another order, so they differ where a sum lies near a tie of bf16.
      ASSERT_LE(testing::relative_error(testing::floats(got), expected), 1e-3);
      if (first.empty()) first = got;
      ASSERT_EQ(got, first) << "another schedule gave other bits";
    });
  }
}

}  // namespace
}  // namespace shori
