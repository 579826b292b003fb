// The fused product for few tokens on the device against the CPU version.
#include "shori/ops/nf4_matmul.h"

#include "tests/support/device_group.h"

namespace shori {
namespace {

using testing::normal_bf16;
using testing::TwinGroup;
using testing::TwinMatrix;

using Nf4MatmulDevice = testing::DeviceTest;

TEST_F(Nf4MatmulDevice, MatchesCpu) {
  struct Case {
    std::int64_t tokens, out, in;
  };
  // One, some and the most tokens of each tile; rows that fill no tile; one chunk of columns, and parts of unequal
  // size.
  for (const auto& [tokens, out, in] :
       {Case{1, 64, 64}, Case{8, 72, 320}, Case{9, 8, 704}, Case{16, 128, 128}, Case{31, 200, 192}, Case{33, 64, 256},
        Case{64, 64, 128}, Case{65, 136, 192}, Case{128, 64, 128}, Case{3, 8512, 64}, Case{5, 64, 2560},
        Case{20, 8, 2624}, Case{40, 8, 1664}, Case{100, 8, 2112}}) {
    SCOPED_TRACE(std::to_string(tokens) + " x " + std::to_string(out) + " x " + std::to_string(in));
    const TwinGroup group(in, 0, {{3, out, false}}, DType::kU8, 1, tokens % 2 == 0);
    TwinMatrix<Bf16> x(tokens, in, normal_bf16(static_cast<std::size_t>(tokens * (in + 8)), 2), in + 8);
    TwinMatrix<Bf16> y(tokens, out, std::vector<Bf16>(static_cast<std::size_t>(tokens * (out + 8))), out + 8);
    nf4_matmul(cpu(), group.host().modules.front().weight, x.host(), y.host());
    const std::vector<float> wanted = testing::floats(y.host_values());
    std::vector<Bf16> first;
    for_each_schedule([&] {
      const std::size_t bytes = nf4_matmul_workspace_bytes(tokens, out, in);
      nf4_matmul(device(bytes + 256), group.device().modules.front().weight, x.device(), y.device());
      EXPECT_LE(device_workspace().peak_bytes(), bytes);
      const std::vector<Bf16> got = y.device_values();
      // Sums of up to 2,624 products in another order: they differ where a sum lies near a tie of bf16.
      ASSERT_LE(testing::relative_error(testing::floats(got), wanted), 1e-3);
      if (first.empty()) first = got;
      ASSERT_EQ(got, first) << "another schedule gave other bits";
    });
  }
}

}  // namespace
}  // namespace shori
