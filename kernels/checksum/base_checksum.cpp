// The base checksum proves that frozen weights are those that were loaded. Every word is mixed with its position before it
// is added, so the sum may be taken in any order: by tasks on the CPU, by thread blocks on a device.
#include "shori/ops/base_checksum.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/checksum/base_checksum_launch.h"
#include "kernels/checksum/checksum_mix.h"
#include "kernels/common/op_checks.h"
#include "kernels/cpu/parallel.h"
#include "shori/util/math.h"

namespace shori {

namespace {

std::uint64_t base_checksum_on_device(const OpContext& context, const void* data, std::size_t bytes) {
  SHORI_CHECK(reinterpret_cast<std::uintptr_t>(data) % 16 == 0, "base_checksum: unaligned memory on a device");
  const WorkspaceFrame frame(*context.workspace);
  auto* sum = context.workspace->take_array<unsigned long long>(1);
  fill_zero_on_device(sum, sizeof(*sum), context.stream);
  launch_base_checksum(data, bytes, sum, static_cast<cudaStream_t>(context.stream));
  unsigned long long result = 0;
  copy_to_host(&result, sum, sizeof(result), context.stream);
  synchronize_stream(context.stream);
  return result;
}

constexpr std::size_t kWord = sizeof(std::uint64_t);

// The terms of the whole words [first, last).
std::uint64_t sum_of_words(const std::byte* data, std::size_t first, std::size_t last) {
  std::uint64_t sum = 0;
  for (std::size_t i = first; i < last; ++i) {
    std::uint64_t word;
    std::memcpy(&word, data + i * kWord, kWord);
    sum += checksum_of_word(word, i);
  }
  return sum;
}

std::uint64_t base_checksum_on_cpu(const std::byte* data, std::size_t bytes) {
  constexpr std::size_t kWordsOfTask = std::size_t{1} << 17;
  const std::size_t words = bytes / kWord, rest = bytes % kWord;
  const auto tasks = static_cast<std::int64_t>(ceil_div(words, kWordsOfTask));
  std::atomic<std::uint64_t> total{0};
  for_each_task(tasks, [&](std::int64_t task, std::int64_t) {
    const std::size_t first = static_cast<std::size_t>(task) * kWordsOfTask;
    total += sum_of_words(data, first, std::min(words, first + kWordsOfTask));
  });
  if (rest == 0) return total;
  std::uint64_t word = 0;
  std::memcpy(&word, data + words * kWord, rest);
  return total + checksum_of_word(word, words);
}

}  // namespace

std::uint64_t base_checksum(const OpContext& context, const void* data, std::size_t bytes) {
  check_context(context, "base_checksum");
  SHORI_CHECK(data != nullptr || bytes == 0, "base_checksum: no memory");
  log_work(context, {.bytes = static_cast<double>(bytes)});
  return on_device(context) ? base_checksum_on_device(context, data, bytes)
                            : base_checksum_on_cpu(static_cast<const std::byte*>(data), bytes);
}

}  // namespace shori
