// What every op gets besides its operands: the device, the stream, and scratch memory that lives for one call.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "shori/ops/op_profile.h"
#include "shori/util/device.h"

namespace shori {

// Red zones: bytes of known content after each slice of a workspace. The end of the slice's frame checks that nothing has
// changed them. Tests turn them on before they make a workspace (tests/support/red_zones.h); other programs have none.
struct RedZones {
  static constexpr std::size_t kBytes = 1024;    // of one zone
  static inline bool on_host = false;            // slices of host memory, which are filled with NaN as well
  static inline std::size_t room_on_device = 0;  // what a device's region needs besides its slices
};

// Scratch memory, handed out in order and released in reverse order (WorkspaceFrame).
//
// On the CPU it grows by whole blocks, which are kept for the next call; memory is 64-byte aligned. On a device it is one
// fixed region and memory is 256-byte aligned. Ops on one stream may reuse it without waiting for each other. To need
// more than the region holds is a bug: the memory plan was wrong. `peak_bytes` gives a planner the size it needs.
class Workspace {
 public:
  Workspace() = default;
  // A region of `bytes` for slices and `red_zone_bytes` for their red zones.
  Workspace(void* region, std::size_t bytes, std::size_t red_zone_bytes = 0)
      : region_(static_cast<std::byte*>(region)), region_bytes_(bytes), red_zone_bytes_(red_zone_bytes) {}

  void* take(std::size_t bytes);
  template <typename T>
  T* take_array(std::size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }
  // Without red zones.
  std::size_t used_bytes() const { return used_; }
  std::size_t peak_bytes() const { return peak_; }

  // Makes [begin, end), which belongs to a slice, a red zone until the slice is given back.
  void add_red_zone(void* begin, void* end);

 private:
  friend class WorkspaceFrame;
  struct Block {
    std::unique_ptr<std::byte[]> memory;
    std::size_t size = 0;
  };
  struct RedZone {
    std::byte *begin, *end;
  };
  void* take_of_region(std::size_t bytes);
  void check_red_zones(std::size_t first);  // of slices that are given back

  std::byte* region_ = nullptr;  // a device's region; null: blocks_ are used
  std::size_t region_bytes_ = 0, red_zone_bytes_ = 0;
  std::vector<RedZone> red_zones_;
  std::size_t most_red_zones_ = 0;
  std::vector<Block> blocks_;
  std::size_t block_ = 0, offset_ = 0, used_ = 0, peak_ = 0;
};

// Releases, at the end of its scope, everything taken since it was constructed.
class WorkspaceFrame {
 public:
  explicit WorkspaceFrame(Workspace& workspace)
      : workspace_(workspace),
        block_(workspace.block_),
        offset_(workspace.offset_),
        used_(workspace.used_),
        red_zones_(workspace.red_zones_.size()) {}
  // Stops the program if a red zone has changed: an op has written outside its scratch.
  ~WorkspaceFrame() {
    if (workspace_.red_zones_.size() > red_zones_) workspace_.check_red_zones(red_zones_);
    workspace_.block_ = block_;
    workspace_.offset_ = offset_;
    workspace_.used_ = used_;
  }
  WorkspaceFrame(const WorkspaceFrame&) = delete;
  WorkspaceFrame& operator=(const WorkspaceFrame&) = delete;

 private:
  Workspace& workspace_;
  std::size_t block_, offset_, used_, red_zones_;
};

struct OpContext {
  Device device = Device::kCpu;  // where all operands and the workspace are
  void* stream = nullptr;        // a device op is queued here and has not run yet when it returns
  Workspace* workspace = nullptr;
  OpProfile* profile = nullptr;  // usually null; else every op reports its begin and its work to it
};

// Whether SHORI_OPS=reference is set in the environment. The matrix products of the CPU versions (kernels/cpu/matmul.h)
// then run as plain loops instead of libtorch's BLAS; nothing else changes.
bool use_reference_ops();

}  // namespace shori
