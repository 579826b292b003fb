// A hash of 64 bits that the host and kernels share.
#pragma once

#include <cstdint>

#include "shori/util/host_device.h"

namespace shori {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): bijective, every bit of the result depends on every bit of x.
SHORI_HD std::uint64_t splitmix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace shori
