// RMSNorm on the device against the CPU version.
#include "shori/ops/rms_norm.h"

#include "tests/support/device_test.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::normal_bf16;
using testing::TwinMatrix;

using RmsNormDevice = DeviceTest;

TEST_F(RmsNormDevice, MatchesCpuOnOddShapes) {
  for (const auto& [rows, cols] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 8}, {3, 264}, {15, 4096}, {2, 16384}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
    const auto count = static_cast<std::size_t>(rows * cols);
    const std::int64_t stride = cols + 8;
    TwinMatrix<Bf16> x(rows, cols, normal_bf16(count, 1)), delta(rows, cols, normal_bf16(count, 2));
    TwinMatrix<Bf16> weight(1, cols, normal_bf16(static_cast<std::size_t>(cols), 3));
    TwinMatrix<Bf16> h(rows, cols, std::vector<Bf16>(count)),
        y(rows, cols, std::vector<Bf16>(static_cast<std::size_t>(rows * stride)), stride);
    rms_norm(cpu(), x.host(), delta.host(), h.host(), weight.host(), 1e-5f, y.host());
    for_each_schedule([&] {
      rms_norm(device(65536), x.device(), delta.device(), h.device(), weight.device(), 1e-5f, y.device());
      ASSERT_EQ(h.device_values(), h.host_values()) << "the residual add is exact";
      const auto got = y.device_values();
      // The sums of squares have different orders: rstd may be an ulp of fp32 apart, which moves a tie of bf16.
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_LE(testing::bf16_ulps(got[i], y.host_values()[i]), 1.0f) << i;
    });
  }
}

}  // namespace
}  // namespace shori
