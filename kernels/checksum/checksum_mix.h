// The mixing function of ops/base_checksum.h, shared by the CPU version and the kernel.
#pragma once

#include <cstdint>

#include "shori/util/host_device.h"

namespace shori {

// The finalizer of splitmix64.
SHORI_HD std::uint64_t checksum_mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// The term of word `index` in the sum.
SHORI_HD std::uint64_t checksum_of_word(std::uint64_t word, std::uint64_t index) {
  return checksum_mix(word ^ checksum_mix(index + 1));
}

}  // namespace shori
