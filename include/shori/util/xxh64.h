// XXH64, a hash of 64 bits at the speed of memory: it finds bytes that a disk or a memory has changed, ten times faster
// than SHA-256. It proves nothing where someone could have chosen the bytes. Source: xxHash, doc/xxhash_spec.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shori {

class Xxh64 {
 public:
  Xxh64();
  Xxh64& update(const void* data, std::size_t size);
  std::uint64_t finish() const;

 private:
  std::array<std::uint64_t, 4> lanes_;
  std::array<std::uint8_t, 32> held_{};  // the beginning of a stripe
  std::uint64_t size_ = 0;
};

}  // namespace shori
