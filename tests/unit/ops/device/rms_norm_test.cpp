// RMSNorm on the device against the CPU version.
#include "shori/ops/rms_norm.h"

#include "shori/ops/device_limits.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::normal_bf16;
using testing::TwinMatrix;

using RmsNormDevice = DeviceTest;

constexpr float kEps = 1e-5f;
constexpr std::int64_t kGap = 8;  // elements between rows of y

TEST_F(RmsNormDevice, MatchesCpuOnOddShapes) {
  struct Case {
    const char* why;
    std::int64_t rows, cols;
  };
  for (const auto& [why, rows, cols] :
       {Case{.why = "one vector for all threads", .rows = 1, .cols = 8},
        Case{.why = "fewer vectors than threads", .rows = 3, .cols = 264},
        Case{.why = "two vectors per thread", .rows = 15, .cols = 4096},
        Case{.why = "four vectors per thread, some of them cut off", .rows = 3, .cols = 6152},
        Case{.why = "the maximum of columns", .rows = 2, .cols = kMaxNormColumns}}) {
    SCOPED_TRACE(why);
    const auto count = static_cast<std::size_t>(rows * cols);
    const std::int64_t stride = cols + kGap;
    TwinMatrix<Bf16> x(rows, cols, normal_bf16(count, 1)), delta(rows, cols, normal_bf16(count, 2));
    TwinMatrix<Bf16> weight(1, cols, normal_bf16(static_cast<std::size_t>(cols), 3));
    TwinMatrix<Bf16> h(rows, cols, std::vector<Bf16>(count)),
        y(rows, cols, std::vector<Bf16>(static_cast<std::size_t>(rows * stride)), stride);
    rms_norm(cpu(), x.host(), delta.host(), h.host(), weight.host(), kEps, y.host());
    for_each_schedule([&] {
      rms_norm(device(kSmallWorkspace), x.device(), delta.device(), h.device(), weight.device(), kEps, y.device());
      ASSERT_EQ(h.device_values(), h.host_values()) << "the residual add is exact";
      // The sums of squares have different orders, so rstd may be an ulp of fp32 apart.
      testing::expect_two_roundings(y.device_values(), y.host_values());
    });
  }
}

// So many elements that 7 of them differ by two neighbours, which no smaller case shows.
TEST_F(RmsNormDevice, MatchesCpuOnManyRows) {
  constexpr std::int64_t kRows = 512, kCols = 4096;
  constexpr std::size_t kCount = kRows * kCols;
  TwinMatrix<Bf16> x(kRows, kCols, normal_bf16(kCount, 5)), y(kRows, kCols, std::vector<Bf16>(kCount));
  TwinMatrix<Bf16> weight(1, kCols, normal_bf16(kCols, 6));
  rms_norm(cpu(), x.host(), std::nullopt, x.host(), weight.host(), kEps, y.host());
  rms_norm(device(kSmallWorkspace), x.device(), std::nullopt, x.device(), weight.device(), kEps, y.device());
  testing::expect_two_roundings(y.device_values(), y.host_values());
}

}  // namespace
}  // namespace shori
