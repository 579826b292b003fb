// One block of memory that is allocated once and handed out in slices, so that a run never allocates after its start
// and its need is known before.
//
// A planning arena only counts. Its addresses are never accessed, so the same code that later creates the tensors of a
// run adds up their memory to the byte. A real arena allocates that many bytes when it is constructed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace shori {

enum class ArenaKind : std::uint8_t { kDevice, kPinned };  // device memory, or page-locked host memory

class DeviceArena {
 public:
  static DeviceArena planning(ArenaKind kind) { return DeviceArena(kind); }
  // Allocates `bytes`; E0401 or E0405 if the device does not have that much.
  DeviceArena(ArenaKind kind, std::size_t bytes);
  ~DeviceArena();
  DeviceArena(DeviceArena&& other) noexcept;
  DeviceArena& operator=(DeviceArena&&) = delete;

  bool is_planning() const { return planning_; }

  static constexpr std::size_t kMaxSliceOverhead = 512;  // bytes that a slice may take beyond its own

  // Slices taken from now on are counted under this name in table().
  void begin(std::string category) { category_ = std::move(category); }

  // The next slice, 256-byte aligned, contents undefined. Null for 0 bytes. Internal error if the arena is too small
  // for it, because the plan was wrong then.
  void* take(std::size_t bytes);

  // Gives back everything taken since mark(); its memory may be taken again.
  struct Mark {
    std::size_t used = 0, slices = 0;
  };
  Mark mark() const { return {used_, slices_.size()}; }
  void release_to(Mark mark);

  // A group of slices that are never in use at the same time and so share memory: every alternative() starts at the
  // beginning of the group again, and the next slice after the group follows the longest alternative. A group is one
  // line of table(). Groups cannot be nested.
  class Shared {
   public:
    explicit Shared(DeviceArena& arena);
    ~Shared();
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;
    void alternative();

   private:
    DeviceArena& arena_;
    std::size_t first_, last_;
  };

  std::size_t used_bytes() const { return used_; }
  std::size_t peak_bytes() const { return peak_; }  // what a real arena needs

  // Bytes by category, in the order of their first slices. The sum is used_bytes().
  struct Line {
    std::string category;
    std::size_t bytes = 0;
  };
  std::vector<Line> table() const;

  // On the emulated device every slice is followed by guard bytes. Internal error with the category of a slice that was
  // written past its end; does nothing on other devices.
  void check_guards() const;

 private:
  explicit DeviceArena(ArenaKind kind);
  struct Slice {
    std::string category;
    std::size_t begin = 0, guard = 0, end = 0;  // the guard bytes are [guard, end)
  };
  void close_slice(Slice slice);

  ArenaKind kind_;
  bool planning_;
  std::size_t guard_bytes_;
  bool sharing_ = false;
  std::byte* memory_ = nullptr;
  std::size_t bytes_ = 0, used_ = 0, peak_ = 0;
  std::string category_;
  std::vector<Slice> slices_;
};

// The arenas that a model on a device is created in. Where a DeviceMemory* is null, host memory is used.
struct DeviceMemory {
  DeviceArena device, pinned;

  static DeviceMemory planning() {
    return {DeviceArena::planning(ArenaKind::kDevice), DeviceArena::planning(ArenaKind::kPinned)};
  }
  bool is_planning() const { return device.is_planning(); }
};

}  // namespace shori
