// Reading what was written, to compare it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace shori {

// XXH64 of `bytes` bytes, which read() is asked for in order. Throws Stopped when a stop is requested.
std::uint64_t checksum_of(std::uint64_t bytes,
                          const std::function<void(std::uint64_t offset, void* into, std::size_t bytes)>& read);

}  // namespace shori
