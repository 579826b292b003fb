// Gradient norm, base checksum and the rounded LoRA copies on the device against the CPU versions, bit for bit.
#include <memory>

#include "shori/ops/base_checksum.h"
#include "shori/ops/grad_norm.h"
#include "shori/ops/lora_grad.h"
#include "shori/util/text.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::normal_values;
using testing::TwinMatrix;

using ReductionsDevice = DeviceTest;

struct Gradients {
  std::vector<std::vector<float>> values;
  std::vector<std::unique_ptr<DeviceArray<float>>> copies;
  std::vector<GradientSpan> host, device;

  void add(std::vector<float> gradient) {
    copies.push_back(std::make_unique<DeviceArray<float>>(gradient));
    values.push_back(std::move(gradient));
    const auto count = static_cast<std::int64_t>(values.back().size());
    host.push_back({values.back().data(), count});
    device.push_back({copies.back()->get(), count});
  }
};

TEST_F(ReductionsDevice, GradientNormEqualsTheCpuToTheBit) {
  Gradients gradients;
  // Tensors of whole and cut chunks, of cut vectors, and one without elements.
  for (const std::size_t count : {4096u, 1u, 4095u, 0u, 4097u, 12288u, 130u, 9001u}) {
    gradients.add(normal_values(count, static_cast<std::uint32_t>(count), count % 2 == 0 ? 1e-3f : 30.0f));
  }
  const double expected = gradient_norm(cpu(), gradients.host);
  EXPECT_GT(expected, 0.0);
  for_each_schedule([&] { EXPECT_EQ(gradient_norm(device(kSmallWorkspace), gradients.device), expected); });
  EXPECT_EQ(gradient_norm(device(kSmallWorkspace), {}), 0.0);
}

// More chunks than one round of the second stage takes.
TEST_F(ReductionsDevice, GradientNormOfManyTensors) {
  Gradients gradients;
  for (std::uint32_t i = 0; i < 300; ++i) gradients.add(normal_values(20 + i % 7, i));
  const double expected = gradient_norm(cpu(), gradients.host);
  for_each_schedule([&] { EXPECT_EQ(gradient_norm(device(kSmallWorkspace), gradients.device), expected); });
}

TEST_F(ReductionsDevice, GradientNormShowsWhatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    Gradients gradients;
    std::vector<float> values(5000, 1.0f);
    values[4998] = bad;
    gradients.add(values);
    EXPECT_FALSE(std::isfinite(gradient_norm(device(kSmallWorkspace), gradients.device)));
  }
}

TEST_F(ReductionsDevice, ChecksumEqualsTheCpu) {
  std::mt19937 generator(3);
  // Around a word (8), around an access of a thread (16), around a block's share (4,096), and many blocks.
  for (const std::size_t bytes : {0u, 1u, 7u, 8u, 15u, 16u, 17u, 4096u, 4101u, 70'000u}) {
    SCOPED_TRACE(concat(bytes, " bytes"));
    std::vector<std::uint8_t> data(bytes);
    for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(generator());
    const DeviceArray<std::uint8_t> copy(data);
    const std::uint64_t expected = base_checksum(cpu(), data.data(), bytes);
    for_each_schedule([&] { EXPECT_EQ(base_checksum(device(kSmallWorkspace), copy.get(), bytes), expected); });
  }
}

// More bytes than one round of all thread blocks takes.
TEST_F(ReductionsDevice, ChecksumOfManyBytes) {
  std::vector<std::uint8_t> data((std::size_t{2} << 20) + 40'003);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * i >> 7);
  const DeviceArray<std::uint8_t> copy(data);
  EXPECT_EQ(base_checksum(device(kSmallWorkspace), copy.get(), data.size()),
            base_checksum(cpu(), data.data(), data.size()));
}

TEST_F(ReductionsDevice, ChecksumSeesAFlippedBitAndAMovedWord) {
  std::vector<std::uint8_t> data(1000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * 31);
  const auto checksum = [&] {
    const DeviceArray<std::uint8_t> copy(data);
    return base_checksum(device(kSmallWorkspace), copy.get(), data.size());
  };
  const std::uint64_t whole = checksum();
  data[999] ^= 1;
  EXPECT_NE(checksum(), whole);
  data[999] ^= 1;
  std::swap_ranges(data.begin(), data.begin() + 8, data.begin() + 8);
  EXPECT_NE(checksum(), whole);
}

TEST_F(ReductionsDevice, LoraCopiesAreRounded) {
  struct Shape {
    std::int64_t rows, cols;
  };
  for (const auto& [rows, cols] : {Shape{1, 1}, Shape{20, 333}, Shape{63, 20}}) {
    const auto count = static_cast<std::size_t>(rows * cols);
    TwinMatrix<float> master(rows, cols, normal_values(count, 9));
    TwinMatrix<Bf16> out(rows, cols, std::vector<Bf16>(count));
    round_lora_factor(cpu(), master.host(), 0.8f, out.host());
    for_each_schedule([&] {
      round_lora_factor(device(kSmallWorkspace), master.device(), 0.8f, out.device());
      ASSERT_EQ(out.device_values(), out.host_values());
    });
  }
}

}  // namespace
}  // namespace shori
