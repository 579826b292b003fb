// How many threads the program uses where the config names no number, and work cut into a range for each.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace shori {

// CPU cores this process may run on: its affinity mask (taskset, a container's cpuset), at least 1.
int usable_cores();

// Calls body(first, last) for `parts` ranges (at least 1) of about equal length that cover [0, count), each on a thread of its
// own, one of them the caller's. `body` must not throw.
template <typename Body>
void for_each_part(std::int64_t count, std::int64_t parts, const Body& body) {
  parts = std::max<std::int64_t>(parts, 1);
  std::vector<std::jthread> workers;
  for (std::int64_t part = 1; part < parts; ++part) {
    workers.emplace_back(
        [&body, first = count * part / parts, last = count * (part + 1) / parts] { body(first, last); });
  }
  body(std::int64_t{0}, count / parts);
}

// lowest = min(lowest, value)
inline void lower_to(std::atomic<std::int64_t>& lowest, std::int64_t value) {
  std::int64_t seen = lowest;
  while (value < seen && !lowest.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace shori
