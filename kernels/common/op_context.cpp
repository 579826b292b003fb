#include "shori/ops/op_context.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "shori/util/error.h"
#include "shori/util/math.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kDeviceAlignment = 256;
constexpr std::size_t kMinBlock = std::size_t{1} << 20;

// The first aligned byte of a block. Blocks are allocated kAlignment bytes too large for this.
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
    SHORI_CHECK(used_ <= region_bytes_,
                concat("the device workspace holds ", region_bytes_, " bytes, ", used_, " are needed"));
    return memory;
  }
  const std::size_t size = round_up(bytes, kAlignment);
  if (used_ == 0 && blocks_.size() > 1) {
    // Nothing is handed out, so one block of the peak size can replace the blocks that grew one by one.
    block_ = offset_ = 0;
    blocks_.clear();
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(peak_ + kAlignment), peak_});
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
  used_ += size;
  peak_ = std::max(peak_, used_);
  return memory;
}

bool use_reference_ops() {
  const char* choice = std::getenv("SHORI_OPS");
  return choice != nullptr && std::string_view(choice) == "reference";
}

}  // namespace shori
