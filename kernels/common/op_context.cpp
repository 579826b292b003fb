#include "shori/ops/op_context.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "kernels/common/red_zone_checker.h"
#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kDeviceAlignment = 256;
constexpr std::size_t kMinBlock = std::size_t{1} << 20;
constexpr int kRedZoneValue = 0xc3;

// The first aligned byte of a block. Blocks are allocated kAlignment bytes too large for this.
std::byte* aligned_start(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return memory + (round_up<std::uintptr_t>(address, kAlignment) - address);
}

}  // namespace

void* Workspace::take_of_region(std::size_t bytes) {
  // Only a region with room for red zones has any.
  std::byte* memory = region_ + used_ + red_zones_.size() * RedZones::kBytes;
  used_ += round_up(bytes, kDeviceAlignment);
  peak_ = std::max(peak_, used_);
  SHORI_CHECK(used_ <= region_bytes_,
              concat("the device workspace holds ", region_bytes_, " bytes, ", used_, " are needed"));
  if (red_zone_bytes_ == 0) return memory;
  SHORI_CHECK((red_zones_.size() + 1) * RedZones::kBytes <= red_zone_bytes_,
              concat("the device workspace has no room for ", red_zones_.size() + 1, " red zones"));
  add_red_zone(memory + bytes, memory + round_up(bytes, kDeviceAlignment) + RedZones::kBytes);
  return memory;
}

void* Workspace::take(std::size_t bytes) {
  if (region_ != nullptr) return take_of_region(bytes);
  const std::size_t red_zone = RedZones::on_host ? RedZones::kBytes : 0, size = round_up(bytes, kAlignment) + red_zone;
  if (used_ == 0 && blocks_.size() > 1) {
    // Nothing is handed out, so one block of the peak size can replace the blocks that grew one by one.
    const std::size_t capacity = peak_ + most_red_zones_ * RedZones::kBytes;
    block_ = offset_ = 0;
    blocks_.clear();
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(capacity + kAlignment), capacity});
  }
  while (block_ < blocks_.size() && blocks_[block_].size - offset_ < size) {
    ++block_;
    offset_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t capacity = std::max(size, kMinBlock);
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(capacity + kAlignment), capacity});
  }
  std::byte* memory = aligned_start(blocks_[block_].memory.get()) + offset_;
  offset_ += size;
  used_ += size - red_zone;
  peak_ = std::max(peak_, used_);
  if (RedZones::on_host) {
    std::memset(memory, 0xff, bytes);  // NaN in every float type
    add_red_zone(memory + bytes, memory + size);
  }
  return memory;
}

void Workspace::add_red_zone(void* begin, void* end) {
  RedZone zone{static_cast<std::byte*>(begin), static_cast<std::byte*>(end)};
  const auto bytes = static_cast<std::size_t>(zone.end - zone.begin);
  std::memset(zone.begin, kRedZoneValue, bytes);
  if (forbid_accesses != nullptr) forbid_accesses(zone.begin, bytes, true);
  red_zones_.push_back(zone);
  most_red_zones_ = std::max(most_red_zones_, red_zones_.size());
}

void Workspace::check_red_zones(std::size_t first) {
  for (std::size_t i = first; i < red_zones_.size(); ++i) {
    const auto [begin, end] = red_zones_[i];
    if (forbid_accesses != nullptr) forbid_accesses(begin, static_cast<std::size_t>(end - begin), false);
    const auto* changed = std::find_if(begin, end, [](std::byte byte) { return byte != std::byte{kRedZoneValue}; });
    SHORI_CHECK(changed == end, concat("byte ", changed - begin, " after slice ", i, " of a workspace was written"));
  }
  red_zones_.resize(first);
}

bool use_reference_ops() {
  const char* choice = std::getenv("SHORI_OPS");
  return choice != nullptr && std::string_view(choice) == "reference";
}

}  // namespace shori
