#include "shori/util/device_arena.h"

#include <algorithm>
#include <cstring>

#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr std::size_t kAlignment = 256;
constexpr int kGuardValue = 0x5a;

}  // namespace

// Guard bytes are checked on the emulated device only, where looking at memory costs no copy.
DeviceArena::DeviceArena(ArenaKind kind)
    : kind_(kind), planning_(true), guard_bytes_(device_backend() == "emulated" ? kAlignment : 0) {}

DeviceArena::DeviceArena(ArenaKind kind, std::size_t bytes) : DeviceArena(kind) {
  planning_ = false;
  bytes_ = bytes;
  memory_ = static_cast<std::byte*>(kind == ArenaKind::kDevice ? device_allocate(bytes) : pinned_allocate(bytes));
}

DeviceArena::DeviceArena(DeviceArena&& other) noexcept
    : kind_(other.kind_),
      planning_(other.planning_),
      guard_bytes_(other.guard_bytes_),
      memory_(std::exchange(other.memory_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      used_(std::exchange(other.used_, 0)),
      peak_(other.peak_),
      category_(std::move(other.category_)),
      slices_(std::move(other.slices_)) {}

DeviceArena::~DeviceArena() {
  if (memory_ == nullptr) return;
  kind_ == ArenaKind::kDevice ? device_free(memory_) : pinned_free(memory_);
}

void* DeviceArena::take(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t begin = used_;
  used_ += round_up(bytes, kAlignment) + (sharing_ ? 0 : guard_bytes_);
  peak_ = std::max(peak_, used_);
  SHORI_CHECK(planning_ || used_ <= bytes_,
              concat("an arena of ", bytes_, " bytes was planned, ", category_, " ends at byte ", used_));
  if (!sharing_) close_slice({category_, begin, begin + bytes, used_});
  // The addresses of a planning arena are not null but must not be accessed.
  return planning_ ? reinterpret_cast<void*>(kAlignment + begin) : memory_ + begin;
}

void DeviceArena::close_slice(Slice slice) {
  if (!planning_ && guard_bytes_ > 0) std::memset(memory_ + slice.guard, kGuardValue, slice.end - slice.guard);
  slices_.push_back(std::move(slice));
}

void DeviceArena::release_to(Mark mark) {
  check_guards();
  used_ = mark.used;
  slices_.resize(mark.slices);
}

DeviceArena::Shared::Shared(DeviceArena& arena) : arena_(arena), first_(arena.used_), last_(arena.used_) {
  SHORI_CHECK(!arena.sharing_, "groups of an arena cannot be nested");
  arena.sharing_ = true;
}

void DeviceArena::Shared::alternative() {
  last_ = std::max(last_, arena_.used_);
  arena_.used_ = first_;
}

DeviceArena::Shared::~Shared() {
  alternative();
  arena_.sharing_ = false;
  arena_.used_ = last_;
  if (last_ == first_) return;
  arena_.used_ += arena_.guard_bytes_;
  arena_.peak_ = std::max(arena_.peak_, arena_.used_);
  arena_.close_slice({arena_.category_, first_, last_, arena_.used_});
}

std::vector<DeviceArena::Line> DeviceArena::table() const {
  std::vector<Line> lines;
  for (const Slice& slice : slices_) {
    auto found = std::ranges::find(lines, slice.category, &Line::category);
    if (found == lines.end()) found = lines.insert(lines.end(), {slice.category, 0});
    found->bytes += slice.end - slice.begin;
  }
  return lines;
}

void DeviceArena::check_guards() const {
  if (planning_ || guard_bytes_ == 0) return;
  for (const Slice& slice : slices_) {
    const bool whole = std::all_of(memory_ + slice.guard, memory_ + slice.end,
                                   [](std::byte byte) { return byte == std::byte{kGuardValue}; });
    SHORI_CHECK(whole, concat("bytes after a slice of ", slice.category, " were written, at byte ", slice.guard,
                              " of the arena"));
  }
}

}  // namespace shori
