// What every op gets besides its operands: the device, the stream, and scratch memory that lives for one call.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "shori/ops/op_profile.h"
#include "shori/util/device.h"

namespace shori {

// Scratch memory handed out in order and given back in reverse (WorkspaceFrame). `peak_bytes` is what a planner needs
// to know. On the CPU it grows by whole blocks, which are kept for the next call, 64-byte aligned. On a device it is
// one fixed region, 256-byte aligned; ops on one stream may use it one after the other without waiting. More than the
// region holds is a bug of ours: the memory plan was wrong.
class Workspace {
 public:
  Workspace() = default;
  Workspace(void* region, std::size_t bytes) : region_(static_cast<std::byte*>(region)), region_bytes_(bytes) {}

  void* take(std::size_t bytes);
  template <typename T>
  T* take_array(std::size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }
  std::size_t used_bytes() const { return used_; }
  std::size_t peak_bytes() const { return peak_; }

 private:
  friend class WorkspaceFrame;
  struct Block {
    std::unique_ptr<std::byte[]> memory;
    std::size_t size = 0;
  };
  std::byte* region_ = nullptr;  // of a device; else blocks_ are used
  std::size_t region_bytes_ = 0;
  std::vector<Block> blocks_;
  std::size_t block_ = 0, offset_ = 0, used_ = 0, peak_ = 0;
};

// Gives back, at the end of its scope, everything taken since it was made.
class WorkspaceFrame {
 public:
  explicit WorkspaceFrame(Workspace& workspace)
      : workspace_(workspace), block_(workspace.block_), offset_(workspace.offset_), used_(workspace.used_) {}
  ~WorkspaceFrame() {
    workspace_.block_ = block_;
    workspace_.offset_ = offset_;
    workspace_.used_ = used_;
  }
  WorkspaceFrame(const WorkspaceFrame&) = delete;
  WorkspaceFrame& operator=(const WorkspaceFrame&) = delete;

 private:
  Workspace& workspace_;
  std::size_t block_, offset_, used_;
};

struct OpContext {
  Device device = Device::kCpu;  // of all operands and of the workspace
  void* stream = nullptr;        // a device op is queued here and has not run when it returns
  Workspace* workspace = nullptr;
  OpProfile* profile = nullptr;  // usually null; else every op tells it that it begins, and its work
};

// SHORI_OPS=reference in the environment: plain loops instead of library matrix products, everywhere.
bool use_reference_ops();

}  // namespace shori
