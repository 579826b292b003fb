// Memory, copies, streams and events of the device layer.
#include <cstring>
#include <numeric>

#include "tests/support/device_test.h"

namespace shori {
namespace {

using testing::DeviceTest;

using DeviceLayer = DeviceTest;

std::vector<std::uint32_t> numbers(std::size_t count) {
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), 1u);
  return values;
}

TEST_F(DeviceLayer, KnowsTheCard) {
  const DeviceInfo& info = open_device();
  EXPECT_FALSE(info.name.empty());
  EXPECT_GT(info.sm_count, 0);
  EXPECT_GE(info.total_bytes, info.free_bytes);
  EXPECT_EQ(&open_device(), &info) << "the device is opened once";
}

TEST_F(DeviceLayer, CopiesArriveThroughPinnedMemoryAndStreams) {
  constexpr std::size_t kCount = 70000, kBytes = kCount * 4;
  const auto values = numbers(kCount);
  auto* pinned = static_cast<std::uint32_t*>(pinned_allocate(kBytes));
  std::memcpy(pinned, values.data(), kBytes);
  DeviceArray<std::uint32_t> first(kCount), second(kCount);
  DeviceStream up, down;
  DeviceEvent arrived;
  copy_to_device(first.get(), pinned, kBytes, up.handle());
  copy_on_device(second.get(), first.get(), kBytes, up.handle());
  arrived.record(up.handle());
  arrived.synchronize();
  std::vector<std::uint32_t> back(kCount);
  copy_to_host(back.data(), second.get(), kBytes, down.handle());
  synchronize_stream(down.handle());
  EXPECT_EQ(back, values);
  pinned_free(pinned);
}

TEST_F(DeviceLayer, RowsAreCopiedBetweenPitches) {
  const auto values = numbers(6 * 10);
  DeviceArray<std::uint32_t> from(values), to(6 * 8);
  fill_zero_on_device(to.get(), 6 * 8 * 4, nullptr);
  copy_rows_on_device(to.get() + 1, 8 * 4, from.get() + 2, 10 * 4, 5 * 4, 6, nullptr);
  const auto got = to.to_host();
  for (std::size_t row = 0; row < 6; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      const bool copied = column >= 1 && column < 6;
      EXPECT_EQ(got[row * 8 + column], copied ? values[row * 10 + column + 1] : 0u) << row << ' ' << column;
    }
  }
}

TEST_F(DeviceLayer, NothingIsCopiedForEmptyRanges) {
  EXPECT_EQ(device_allocate(0), nullptr);
  device_free(nullptr);
  pinned_free(pinned_allocate(0));
  DeviceArray<std::uint32_t> one(std::vector<std::uint32_t>{7});
  copy_on_device(one.get(), one.get(), 0, nullptr);
  copy_rows_on_device(one.get(), 4, one.get(), 4, 0, 1, nullptr);
  fill_zero_on_device(one.get(), 0, nullptr);
  EXPECT_EQ(one.to_host(), std::vector<std::uint32_t>{7});
}

TEST_F(DeviceLayer, MemoryIsCountedAndAligned) {
  const std::size_t peak = device_peak_bytes();
  void* memory = device_allocate(std::size_t{1} << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 256, 0u);
  EXPECT_GE(device_peak_bytes(), std::size_t{1} << 20);
  EXPECT_GE(device_peak_bytes(), peak);
  EXPECT_GE(device_bytes_in_use(), std::size_t{1} << 20);
  device_free(memory);
}

TEST_F(DeviceLayer, EventsAreInOrder) {
  DeviceStream stream;
  DeviceEvent begin, end;
  DeviceArray<std::uint32_t> memory(1 << 16);
  begin.record(stream.handle());
  fill_zero_on_device(memory.get(), 4 << 16, stream.handle());
  end.record(stream.handle());
  end.synchronize();
  EXPECT_GE(end.seconds_since(begin), 0.0);
}

}  // namespace
}  // namespace shori
