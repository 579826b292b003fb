#include "shori/ops/base_checksum.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/cpu_parallel.h"
#include "kernels/op_checks.h"

namespace shori {

namespace {

// The finalizer of splitmix64.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

std::uint64_t base_checksum(const OpContext& context, const void* data, std::size_t bytes) {
  check_context(context, "base_checksum");
  SHORI_CHECK(data != nullptr || bytes == 0, "base_checksum: no memory");
  constexpr std::size_t kWord = sizeof(std::uint64_t), kWordsOfTask = std::size_t{1} << 17;
  const std::size_t words = (bytes + kWord - 1) / kWord;
  std::atomic<std::uint64_t> total{0};
  for_each_task(tiles_of(static_cast<std::int64_t>(words), kWordsOfTask), [&](std::int64_t task, std::int64_t) {
    const std::size_t first = static_cast<std::size_t>(task) * kWordsOfTask,
                      last = std::min(words, first + kWordsOfTask);
    std::uint64_t sum = 0;
    for (std::size_t i = first; i < last; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, static_cast<const std::byte*>(data) + i * kWord, std::min(kWord, bytes - i * kWord));
      sum += mix(word ^ mix(i + 1));
    }
    total += sum;
  });
  return total;
}

}  // namespace shori
