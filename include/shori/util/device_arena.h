// One block of memory taken once and handed out piece by piece, so that a run never allocates after its start and its
// need is known before it.
//
// An arena plans or holds. A planning arena only counts: its addresses are never touched, so the very code that will
// make a run's tensors adds up what they take, to the byte. A holding arena takes that many bytes when it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace shori {

enum class ArenaKind : std::uint8_t { kDevice, kPinned };  // memory of the device, or page-locked host memory

class DeviceArena {
 public:
  static DeviceArena planning(ArenaKind kind) { return DeviceArena(kind); }
  // Takes the memory: E0401 or E0405 where the device has not that much any more.
  DeviceArena(ArenaKind kind, std::size_t bytes);
  ~DeviceArena();
  DeviceArena(DeviceArena&& other) noexcept;
  DeviceArena& operator=(DeviceArena&&) = delete;

  bool is_planning() const { return planning_; }

  static constexpr std::size_t kPieceOverhead = 512;  // the most that a piece takes beyond its bytes

  // Pieces taken from now on count under this name in the table.
  void begin(std::string category) { category_ = std::move(category); }

  // The next piece, 256-byte aligned, contents undefined. Null for 0 bytes. More than the arena holds is a bug of ours:
  // the plan was wrong.
  void* take(std::size_t bytes);

  // Everything taken since mark() is given back; its memory may be taken again.
  struct Mark {
    std::size_t used = 0, pieces = 0;
  };
  Mark mark() const { return {used_, pieces_.size()}; }
  void release_to(Mark mark);

  // Pieces that are used one after the other and so share memory: each alternative() starts again at the group's
  // beginning, and what follows the group lies behind the longest of them. The group is one line of the table. Groups
  // are not nested.
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
  std::size_t peak_bytes() const { return peak_; }  // what a holding arena needs

  // Bytes by category, in the order in which they were first named. The sum is used_bytes().
  struct Line {
    std::string category;
    std::size_t bytes = 0;
  };
  std::vector<Line> table() const;

  // The emulated device keeps guard bytes behind every piece. Throws the internal error that names the category whose
  // piece was written past its end; does nothing on other devices.
  void check_guards() const;

 private:
  explicit DeviceArena(ArenaKind kind);
  struct Piece {
    std::string category;
    std::size_t begin = 0, guard = 0, end = 0;  // from `guard` on nothing belongs to it
  };
  void close_piece(Piece piece);

  ArenaKind kind_;
  bool planning_;
  std::size_t guard_bytes_;
  bool sharing_ = false;
  std::byte* memory_ = nullptr;
  std::size_t bytes_ = 0, used_ = 0, peak_ = 0;
  std::string category_;
  std::vector<Piece> pieces_;
};

// What a model on a device is made in. Null pointers to it mean host memory.
struct DeviceMemory {
  DeviceArena device, pinned;

  static DeviceMemory planning() {
    return {DeviceArena::planning(ArenaKind::kDevice), DeviceArena::planning(ArenaKind::kPinned)};
  }
  bool is_planning() const { return device.is_planning(); }
};

}  // namespace shori
