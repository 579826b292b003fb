#include "kernels/cpu/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <latch>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/turns.h"
#include "shori/ops/op_context.h"
#include "tests/support/thread_count.h"

namespace shori {
namespace {

// Waits for all tasks of a latch; false if they have not arrived after ten seconds, as in a serial loop.
bool arrive_and_meet(std::latch& latch) {
  latch.count_down();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!latch.try_wait()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Tasks that wait for each other finish only if each has a thread of its own.
TEST(ForEachTask, RunsAsManyTasksAtOnceAsThereAreThreads) {
  for (const int threads : {2, 3, 5}) {
    const ThreadCount count(threads);
    std::latch latch(threads);
    std::atomic<int> met{0};
    for_each_task(threads, [&](std::int64_t, std::int64_t) { met += arrive_and_meet(latch) ? 1 : 0; });
    EXPECT_EQ(met, threads);
  }
}

TEST(ForEachTask, GivesEachThreadAWorkerOfItsOwn) {
  constexpr int kThreads = 3;
  const ThreadCount count(kThreads);
  std::latch latch(kThreads);
  std::array<std::atomic<std::int64_t>, kThreads> worker_of{};
  for_each_task(kThreads, [&](std::int64_t task, std::int64_t worker) {
    arrive_and_meet(latch);
    worker_of[static_cast<std::size_t>(task)] = worker;
  });
  EXPECT_EQ(std::set<std::int64_t>(worker_of.begin(), worker_of.end()), (std::set<std::int64_t>{0, 1, 2}));
}

TEST(ForEachTask, UsesNoMoreWorkersThanAllowed) {
  const ThreadCount count(5);
  std::atomic<std::int64_t> largest{0};
  for_each_task(100, 2, [&](std::int64_t, std::int64_t worker) {
    std::int64_t seen = largest;
    while (worker > seen && !largest.compare_exchange_weak(seen, worker)) {
    }
  });
  EXPECT_LT(largest, 2);
}

// The first task begins its work last.
TEST(Turns, RunInTheirOrder) {
  constexpr int kThreads = 3;
  const ThreadCount count(kThreads);
  Turns turns;
  std::latch latch(kThreads);
  std::vector<std::int64_t> order;
  for_each_task(kThreads, [&](std::int64_t task, std::int64_t) {
    Turn turn(turns, task);
    EXPECT_TRUE(arrive_and_meet(latch));
    if (task == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    turn.take([&] { order.push_back(task); });
  });
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2}));
}

TEST(Turns, ATaskThatFailsLetsTheOthersPass) {
  const ThreadCount count(3);
  Turns turns;
  std::atomic<int> taken{0};
  EXPECT_THROW(for_each_task(20,
                             [&](std::int64_t task, std::int64_t) {
                               Turn turn(turns, task);
                               if (task == 1) throw std::runtime_error("no memory");
                               turn.take([&] { ++taken; });
                             }),
               std::runtime_error);
  EXPECT_GE(taken, 1);
}

TEST(WorkerScratch, EachThreadHasArraysOfItsOwn) {
  constexpr std::int64_t kWorkers = 3, kFirst = 20, kSecond = 7;
  Workspace workspace;
  const OpContext context{.workspace = &workspace};
  const WorkspaceFrame frame(workspace);
  const WorkerScratch scratch(context, {kFirst, kSecond}, kWorkers);
  for (std::int64_t worker = 0; worker < kWorkers; ++worker) {
    const auto [first, second] = scratch.of(worker);
    std::fill_n(first, kFirst, static_cast<float>(worker));
    std::fill_n(second, kSecond, static_cast<float>(worker) + 0.5f);
  }
  for (std::int64_t worker = 0; worker < kWorkers; ++worker) {
    const auto [first, second] = scratch.of(worker);
    const auto number = static_cast<float>(worker);
    EXPECT_EQ(std::count(first, first + kFirst, number), kFirst) << worker;
    EXPECT_EQ(std::count(second, second + kSecond, number + 0.5f), kSecond) << worker;
  }
}

// A program with two OpenMP runtimes has two pools that take the cores from each other.
TEST(ForEachTask, OneOpenMpRuntimeIsLoaded) {
  std::ifstream maps("/proc/self/maps");
  std::set<std::string> files;
  for (std::string line; std::getline(maps, line);) {
    const std::size_t path = line.find('/');
    if (path != std::string::npos && line.find("gomp") != std::string::npos) files.insert(line.substr(path));
  }
  EXPECT_EQ(files.size(), 1u);
}

}  // namespace
}  // namespace shori
