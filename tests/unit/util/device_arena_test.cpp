#include "shori/util/device_arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>

namespace shori {
namespace {

std::size_t address(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

TEST(DeviceArena, PlanCountsWhatWouldBeTaken) {
  DeviceArena arena = DeviceArena::planning(ArenaKind::kDevice);
  arena.begin("weights");
  const void* first = arena.take(1);
  const void* second = arena.take(256);
  arena.begin("buffers");
  const void* third = arena.take(257);
  arena.begin("weights");
  arena.take(10);
  EXPECT_NE(first, nullptr);
  EXPECT_EQ(address(first) % 256, 0u);
  EXPECT_EQ(address(second), address(first) + 256);
  EXPECT_EQ(address(third), address(second) + 256);
  EXPECT_EQ(arena.used_bytes(), 256u + 256 + 512 + 256);
  const auto table = arena.table();
  ASSERT_EQ(table.size(), 2u);
  EXPECT_EQ(table[0].category, "weights");
  EXPECT_EQ(table[0].bytes, 768u);
  EXPECT_EQ(table[1].bytes, 512u);
}

TEST(DeviceArena, NothingTakesNothing) {
  DeviceArena arena = DeviceArena::planning(ArenaKind::kPinned);
  EXPECT_EQ(arena.take(0), nullptr);
  EXPECT_EQ(arena.used_bytes(), 0u);
  EXPECT_TRUE(arena.table().empty());
}

TEST(DeviceArena, ReleasedMemoryIsTakenAgainAndThePeakStays) {
  DeviceArena arena = DeviceArena::planning(ArenaKind::kDevice);
  arena.begin("base");
  arena.take(1000);
  const DeviceArena::Mark mark = arena.mark();
  arena.begin("stage");
  const void* before = arena.take(5000);
  arena.release_to(mark);
  EXPECT_EQ(arena.used_bytes(), 1024u);
  EXPECT_EQ(arena.table().size(), 1u);
  EXPECT_EQ(arena.take(100), before);
  EXPECT_EQ(arena.peak_bytes(), 1024u + 5120);
}

TEST(DeviceArena, AlternativesShareMemoryAndTheRestFollows) {
  DeviceArena arena = DeviceArena::planning(ArenaKind::kDevice);
  arena.begin("phases");
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  {
    DeviceArena::Shared shared(arena);
    a = arena.take(512);
    arena.take(256);
    shared.alternative();
    b = arena.take(2048);
    shared.alternative();
    c = arena.take(256);
  }
  arena.begin("after");
  const void* after = arena.take(1);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a, c);
  EXPECT_EQ(address(after), address(a) + 2048);
  const auto table = arena.table();
  ASSERT_EQ(table.size(), 2u);
  EXPECT_EQ(table[0].bytes, 2048u);
  EXPECT_EQ(table[0].bytes + table[1].bytes, arena.used_bytes());
}

}  // namespace
}  // namespace shori
