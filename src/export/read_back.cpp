#include "src/export/read_back.h"

#include <algorithm>
#include <vector>

#include "shori/util/signals.h"
#include "shori/util/xxh64.h"

namespace shori {

std::uint64_t checksum_of(std::uint64_t bytes,
                          const std::function<void(std::uint64_t offset, void* into, std::size_t bytes)>& read) {
  constexpr std::uint64_t kAtOnce = 1u << 18;  // stays in the cache between reading and hashing
  std::vector<std::byte> chunk(std::min(bytes, kAtOnce));
  Xxh64 hash;
  for (std::uint64_t offset = 0; offset < bytes; offset += kAtOnce) {
    throw_if_stop_requested();
    const std::size_t count = std::min(bytes - offset, kAtOnce);
    read(offset, chunk.data(), count);
    hash.update(chunk.data(), count);
  }
  return hash.finish();
}

}  // namespace shori
