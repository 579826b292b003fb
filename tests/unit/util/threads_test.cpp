#include "shori/util/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

namespace shori {
namespace {

TEST(ForEachPart, CoversTheRangeOnce) {
  for (const std::int64_t count : {0, 1, 7, 1000}) {
    for (const std::int64_t parts : {-1, 0, 1, 2, 3, 7}) {
      std::mutex mutex;
      std::set<std::pair<std::int64_t, std::int64_t>> ranges;
      for_each_part(count, parts, [&](std::int64_t first, std::int64_t last) {
        const std::lock_guard lock(mutex);
        if (first < last) ranges.emplace(first, last);
      });
      std::int64_t next = 0;
      for (const auto& [first, last] : ranges) {
        EXPECT_EQ(first, next);
        next = last;
      }
      EXPECT_EQ(next, count) << parts << " parts";
    }
  }
}

// Parts that wait for each other finish only if each has a thread of its own.
TEST(ForEachPart, RunsAllPartsAtOnce) {
  constexpr int kParts = 3;
  std::latch latch(kParts);
  std::atomic<int> met{0};
  for_each_part(kParts, kParts, [&](std::int64_t, std::int64_t) {
    latch.count_down();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!latch.try_wait() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    met += latch.try_wait() ? 1 : 0;
  });
  EXPECT_EQ(met, kParts);
}

}  // namespace
}  // namespace shori
