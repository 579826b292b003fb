// Launcher of ops/base_checksum.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

// Adds the checksum of `bytes` bytes at `data` (16-byte aligned) to *sum.
SHORI_LAUNCHER void launch_base_checksum(const void* data, std::uint64_t bytes, unsigned long long* sum,
                                         cudaStream_t stream);

}  // namespace shori
