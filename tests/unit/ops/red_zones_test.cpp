// The red zones of workspaces, which the other cases of this program run with: a write outside a slice stops the program.
#include "tests/support/red_zones.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "shori/ops/op_context.h"

namespace shori {
namespace {

// Takes a slice of 100 bytes and writes one byte at `offset` from its beginning.
void write_at(Workspace& workspace, std::size_t offset) {
  const WorkspaceFrame frame(workspace);
  auto* slice = static_cast<std::byte*>(workspace.take(100));
  workspace.take(8);
  slice[offset] = std::byte{1};
}

TEST(RedZones, WriteAfterASliceStopsTheProgram) {
  Workspace workspace;
  write_at(workspace, 0);
  write_at(workspace, 99);
  EXPECT_DEATH(write_at(workspace, 100), "byte 0 after slice 0 of a workspace was written");
  EXPECT_DEATH(write_at(workspace, 700), "byte 600 after slice 0 of a workspace was written");
}

TEST(RedZones, RegionsWithRoomHaveThem) {
  std::vector<std::byte> region(1024 + 2 * RedZones::kBytes);
  Workspace workspace(region.data(), 1024, 2 * RedZones::kBytes);
  write_at(workspace, 99);
  EXPECT_EQ(workspace.peak_bytes(), 512u) << "slices alone count";
  EXPECT_DEATH(write_at(workspace, 100), "byte 0 after slice 0 of a workspace was written");
  EXPECT_EQ(workspace.take(1024), region.data());
  Workspace without(region.data(), 1024);
  write_at(without, 100);
}

TEST(RedZones, EndOfAnInnerFrameChecksItsSlicesAlone) {
  Workspace workspace;
  const WorkspaceFrame outer(workspace);
  auto* slice = workspace.take_array<float>(3);
  slice[3] = 1.0f;
  write_at(workspace, 0);
  EXPECT_DEATH(
      {
        const WorkspaceFrame inner(workspace);
        workspace.take_array<float>(3)[3] = 1.0f;
      },
      "after slice 1 of a workspace");
  std::memset(slice + 3, 0xc3, sizeof(float));
}

TEST(RedZones, AreBetweenTheArraysOfWorkers) {
  Workspace workspace;
  const OpContext context{.workspace = &workspace};
  const auto write = [&](std::int64_t worker, std::size_t array, std::int64_t index) {
    const WorkspaceFrame frame(workspace);
    const WorkerScratch scratch(context, {20, 7}, 3);
    scratch.of(worker)[array][index] = 1.0f;
  };
  for (const std::int64_t worker : {0, 1, 2}) {
    write(worker, 0, 19);
    write(worker, 1, 6);
    EXPECT_DEATH(write(worker, 0, 20), "byte 0 after slice") << worker;
    EXPECT_DEATH(write(worker, 1, 7), "byte 0 after slice") << worker;
  }
}

TEST(RedZones, NewSlicesAreNaN) {
  Workspace workspace;
  for (int i = 0; i < 2; ++i) {
    const WorkspaceFrame frame(workspace);
    auto* slice = workspace.take_array<float>(2);
    EXPECT_TRUE(std::isnan(slice[0]) && std::isnan(slice[1]));
    slice[0] = slice[1] = 0.0f;
  }
}

}  // namespace
}  // namespace shori
