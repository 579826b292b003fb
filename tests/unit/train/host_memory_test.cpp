#include "src/train/plan/host_memory.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

constexpr SavedBytes kBytes = {.attention = 10, .whole = 100};

std::vector<Recompute> chosen(ActivationMemory choice, std::size_t available) {
  return choose_host_checkpointing(4, kBytes, choice, available).layers;
}

TEST(HostCheckpointing, AutoSavesTheLastLayersFirstAndLeavesAFifth) {
  constexpr Recompute kAll = Recompute::kAll, kMlp = Recompute::kMlp, kNone = Recompute::kNone;
  using Layers = std::vector<Recompute>;
  const auto automatic = [](std::size_t available) { return chosen(ActivationMemory::kAuto, available); };
  EXPECT_EQ(automatic(0), (Layers{kAll, kAll, kAll, kAll}));
  EXPECT_EQ(automatic(15), (Layers{kAll, kAll, kAll, kMlp})) << "four fifths of 15 are 12";
  EXPECT_EQ(automatic(125), (Layers{kAll, kAll, kAll, kNone}));
  EXPECT_EQ(automatic(124), (Layers{kMlp, kMlp, kMlp, kMlp})) << "a whole layer takes 100 and 96 are to be had";
  EXPECT_EQ(automatic(265), (Layers{kAll, kMlp, kNone, kNone})) << "212 hold two whole layers and one attention";
  EXPECT_EQ(automatic(500), (Layers{kNone, kNone, kNone, kNone}));
}

TEST(HostCheckpointing, AChoiceOfTheUserHoldsWhateverIsFree) {
  EXPECT_EQ(chosen(ActivationMemory::kRecompute, 1 << 20), std::vector<Recompute>(4, Recompute::kAll));
  EXPECT_EQ(chosen(ActivationMemory::kKeepAttention, 0), std::vector<Recompute>(4, Recompute::kMlp));
  EXPECT_EQ(chosen(ActivationMemory::kKeep, 0), std::vector<Recompute>(4, Recompute::kNone));
}

// A root folder with the files of /proc and /sys that are read.
class AvailableHostBytes : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) { root_.write(name, content); }
  std::size_t available() const { return available_host_bytes(root_.path()); }

 private:
  TemporaryFolder root_;
};

TEST_F(AvailableHostBytes, IsMemAvailableWithoutAGroupLimit) {
  write("proc/meminfo", "MemTotal:       32000 kB\nMemFree:         1000 kB\nMemAvailable:    4000 kB\n");
  EXPECT_EQ(available(), 4000u * 1024);
  write("proc/self/cgroup", "0::/user.slice\n");
  write("sys/fs/cgroup/user.slice/memory.max", "max\n");
  write("sys/fs/cgroup/user.slice/memory.current", "5\n");
  EXPECT_EQ(available(), 4000u * 1024);
}

TEST_F(AvailableHostBytes, IsWhatTheTightestGroupLeaves) {
  write("proc/meminfo", "MemAvailable:    4000 kB\n");
  write("proc/self/cgroup", "0::/outer/inner\n");
  write("sys/fs/cgroup/outer/inner/memory.max", "3000000\n");
  write("sys/fs/cgroup/outer/inner/memory.current", "1000000\n");
  EXPECT_EQ(available(), 2000000u);
  write("sys/fs/cgroup/outer/memory.max", "1500000\n");
  write("sys/fs/cgroup/outer/memory.current", "1000000\n");
  EXPECT_EQ(available(), 500000u) << "the group around it";
  write("sys/fs/cgroup/outer/memory.stat", "anon 7\ninactive_file 400000\nactive_file 9\n");
  EXPECT_EQ(available(), 900000u) << "unused pages of files can be given up";
}

TEST_F(AvailableHostBytes, KnowsVersionOneAndContainersWhoseGroupIsTheRoot) {
  write("proc/meminfo", "MemAvailable:    4000 kB\n");
  write("proc/self/cgroup", "5:memory:/docker/0123\n3:cpu,cpuacct:/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "900000\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n");
  EXPECT_EQ(available(), 700000u);
}

TEST_F(AvailableHostBytes, IsNothingWhereNothingCanBeRead) { EXPECT_EQ(available(), 0u); }

}  // namespace
}  // namespace shori
