#include "shori/ops/op_context.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "shori/util/error.h"
#include "shori/util/math.h"

namespace shori {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kDeviceAlignment = 256;
constexpr std::size_t kSmallestBlock = std::size_t{1} << 20;

// First aligned byte of a block; blocks are allocated with room for the shift.
std::byte* aligned_start(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return memory + (round_up<std::uintptr_t>(address, kAlignment) - address);
}

}  // namespace

void* Workspace::take(std::size_t bytes) {
  if (region_ != nullptr) {
    std::byte* memory = region_ + used_;
    used_ += round_up(bytes, kDeviceAlignment);
    peak_ = std::max(peak_, used_);
    SHORI_CHECK(used_ <= region_bytes_, "the device workspace holds " + std::to_string(region_bytes_) + " bytes, " +
                                            std::to_string(used_) + " are needed");
    return memory;
  }
  const std::size_t size = round_up(bytes, kAlignment);
  if (used_ == 0 && blocks_.size() > 1) {
    // Nothing is handed out: one block of the largest need replaces the pieces it grew by.
    block_ = offset_ = 0;
    blocks_.clear();
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(peak_ + kAlignment), peak_});
  }
  while (block_ < blocks_.size() && blocks_[block_].size - offset_ < size) {
    ++block_;
    offset_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t capacity = std::max(size, kSmallestBlock);
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(capacity + kAlignment), capacity});
  }
  std::byte* memory = aligned_start(blocks_[block_].memory.get()) + offset_;
  offset_ += size;
  used_ += size;
  peak_ = std::max(peak_, used_);
  return memory;
}

bool use_reference_ops() {
  const char* choice = std::getenv("SHORI_OPS");
  return choice != nullptr && std::string_view(choice) == "reference";
}

}  // namespace shori
