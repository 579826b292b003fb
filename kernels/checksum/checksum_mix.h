// The mixing function of ops/base_checksum.h, shared by the CPU version and the kernel.
#pragma once

#include <cstdint>

#include "shori/util/host_device.h"
#include "shori/util/splitmix64.h"

namespace shori {

// The term of word `index` in the sum.
SHORI_HD std::uint64_t checksum_of_word(std::uint64_t word, std::uint64_t index) {
  return splitmix64(word ^ splitmix64(index + 1));
}

}  // namespace shori
