#include "shori/util/device_arena.h"

#include <algorithm>
#include <cstring>

#include "shori/util/device.h"
#include "shori/util/error.h"

namespace shori {

namespace {

constexpr std::size_t kAlignment = 256;
constexpr int kGuardValue = 0x5a;

std::size_t align_up(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

// Only the emulated device's memory can be looked at for the price of a memcmp.
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
      pieces_(std::move(other.pieces_)) {}

DeviceArena::~DeviceArena() {
  if (memory_ == nullptr) return;
  kind_ == ArenaKind::kDevice ? device_free(memory_) : pinned_free(memory_);
}

void* DeviceArena::take(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t begin = used_;
  used_ += align_up(bytes) + (sharing_ ? 0 : guard_bytes_);
  peak_ = std::max(peak_, used_);
  // A planning arena hands out what nothing may touch, yet no null.
  SHORI_CHECK(planning_ || used_ <= bytes_, "an arena of " + std::to_string(bytes_) + " bytes was planned, " +
                                                category_ + " ends at byte " + std::to_string(used_));
  if (!sharing_) close_piece({category_, begin, begin + bytes, used_});
  return planning_ ? reinterpret_cast<void*>(kAlignment + begin) : memory_ + begin;
}

void DeviceArena::close_piece(Piece piece) {
  if (!planning_ && guard_bytes_ > 0) std::memset(memory_ + piece.guard, kGuardValue, piece.end - piece.guard);
  pieces_.push_back(std::move(piece));
}

void DeviceArena::release_to(Mark mark) {
  check_guards();
  used_ = mark.used;
  pieces_.resize(mark.pieces);
}

DeviceArena::Shared::Shared(DeviceArena& arena) : arena_(arena), first_(arena.used_), last_(arena.used_) {
  SHORI_CHECK(!arena.sharing_, "groups of an arena are not nested");
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
  arena_.close_piece({arena_.category_, first_, last_, arena_.used_});
}

std::vector<DeviceArena::Line> DeviceArena::table() const {
  std::vector<Line> lines;
  for (const Piece& piece : pieces_) {
    auto found = std::ranges::find(lines, piece.category, &Line::category);
    if (found == lines.end()) found = lines.insert(lines.end(), {piece.category, 0});
    found->bytes += piece.end - piece.begin;
  }
  return lines;
}

void DeviceArena::check_guards() const {
  if (planning_ || guard_bytes_ == 0) return;
  for (const Piece& piece : pieces_) {
    const bool whole = std::all_of(memory_ + piece.guard, memory_ + piece.end,
                                   [](std::byte byte) { return byte == std::byte{kGuardValue}; });
    SHORI_CHECK(whole, "bytes behind a piece of " + piece.category + " were written, at byte " +
                           std::to_string(piece.guard) + " of the arena");
  }
}

}  // namespace shori
