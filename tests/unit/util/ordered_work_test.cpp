#include "shori/util/ordered_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace shori {
namespace {

TEST(OrderedWorkTest, ResultsComeInOrder) {
  for (const int threads : {1, 2, 3, 8}) {
    std::vector<std::size_t> taken;
    make_in_order(
        100, threads,
        [](std::size_t i) {
          if (i % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
          return 2 * i;
        },
        [&](std::size_t i, std::size_t result) {
          EXPECT_EQ(result, 2 * i);
          taken.push_back(i);
        });
    ASSERT_EQ(taken.size(), 100u) << threads;
    for (std::size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i], i) << threads;
  }
  make_in_order(0, 2, [](std::size_t) { return 0; }, [](std::size_t, int) { FAIL(); });
}

// Each begin() sees what the one before left, although make() goes on beside them, and no slot is taken before it is free.
TEST(OrderedWorkTest, BeginningsAreInOrderAndOneAtATime) {
  for (const int threads : {1, 2, 4}) {
    std::size_t begun = 0;  // not atomic: the thread sanitizer would object
    std::atomic<std::size_t> taken = 0;
    make_in_order(
        200, threads,
        [&](std::size_t i) {
          EXPECT_EQ(i, begun++);
          EXPECT_LE(i, taken + static_cast<std::size_t>(threads));
          return 3 * i;
        },
        [](std::size_t i, std::size_t value) {
          if (i % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
          return value + 1;
        },
        [&](std::size_t i, std::size_t value) {
          EXPECT_EQ(value, 3 * i + 1);
          ++taken;
        });
    EXPECT_EQ(taken, 200u);
  }
}

TEST(OrderedWorkTest, AFailureOfABeginningIsThrownAtItsTurn) {
  std::vector<std::size_t> taken;
  EXPECT_THROW(
      make_in_order(
          50, 3,
          [](std::size_t i) {
            if (i == 4) throw std::runtime_error("cannot be read");
            return i;
          },
          [](std::size_t i, std::size_t) { return i; }, [&](std::size_t i, std::size_t) { taken.push_back(i); }),
      std::runtime_error);
  EXPECT_EQ(taken, (std::vector<std::size_t>{0, 1, 2, 3}));
}

// Ends only if three calls of make() run at the same time.
TEST(OrderedWorkTest, ThreadsWorkAtTheSameTime) {
  std::barrier all(3);
  make_in_order(
      6, 3,
      [&](std::size_t i) {
        all.arrive_and_wait();
        return i;
      },
      [](std::size_t, std::size_t) {});
}

TEST(OrderedWorkTest, ResultsThatWaitAreBounded) {
  std::atomic<int> alive = 0, most = 0;
  struct Counted {
    explicit Counted(std::atomic<int>& count) : alive(&count) { ++*alive; }
    Counted(Counted&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
    ~Counted() {
      if (alive) --*alive;
    }
    std::atomic<int>* alive;
  };
  make_in_order(
      60, 4,
      [&](std::size_t) {
        Counted counted(alive);
        if (alive > most) most = alive.load();
        return counted;
      },
      [&](std::size_t, const Counted&) {
        if (alive > most) most = alive.load();
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      });
  EXPECT_LE(most, 5);
  EXPECT_EQ(alive, 0);
}

// The second item fails first by the clock.
TEST(OrderedWorkTest, TheFirstFailureInOrderIsThrown) {
  std::atomic<bool> later_failed = false;
  std::vector<std::size_t> taken;
  const auto make = [&](std::size_t i) -> int {
    if (i == 2) {
      later_failed = true;
      throw std::runtime_error("second");
    }
    if (i == 1) {
      while (!later_failed) std::this_thread::yield();
      throw std::runtime_error("first");
    }
    return 0;
  };
  try {
    make_in_order(50, 3, make, [&](std::size_t i, int) { taken.push_back(i); });
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), std::string("first"));
  }
  EXPECT_EQ(taken, std::vector<std::size_t>{0});
}

TEST(OrderedWorkTest, AFailureOfTheTakerEndsTheThreads) {
  std::atomic<int> made = 0;
  EXPECT_THROW(make_in_order(
                   1000, 2,
                   [&](std::size_t i) {
                     ++made;
                     return i;
                   },
                   [](std::size_t i, std::size_t) {
                     if (i == 3) throw std::runtime_error("disk full");
                   }),
               std::runtime_error);
  EXPECT_LE(made, 3 + 3 + 2);
}

}  // namespace
}  // namespace shori
