// Work on several threads whose results are wanted in order.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace shori {

// Calls make(i) for i = 0 .. count - 1 on `threads` threads, and take(i, result) in that order on the calling thread,
// which works at the same time as they do. No more than threads + 1 results exist at once. What make() throws is thrown
// at its turn, so that of several failures the first in order is reported; all threads have ended on return.
template <typename Make, typename Take>
void make_in_order(std::size_t count, int threads, const Make& make, const Take& take) {
  struct Slot {
    std::optional<std::invoke_result_t<const Make&, std::size_t>> result;
    std::exception_ptr failure;
  };
  const std::size_t limit = static_cast<std::size_t>(threads) + 1;
  std::mutex mutex;
  std::condition_variable room, ready;
  std::map<std::size_t, Slot> made;
  std::size_t next = 0, taken = 0;
  bool ending = false;

  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      room.wait(lock, [&] { return ending || next == count || next < taken + limit; });
      if (ending || next == count) return;
      const std::size_t index = next++;
      lock.unlock();
      Slot slot;
      try {
        slot.result.emplace(make(index));
      } catch (...) {
        slot.failure = std::current_exception();
      }
      lock.lock();
      made.emplace(index, std::move(slot));
      ready.notify_one();
    }
  };
  std::vector<std::jthread> workers;  // joined before what they use is destroyed
  struct Ending {
    ~Ending() {
      const std::lock_guard lock(mutex);
      ending = true;
      room.notify_all();
    }
    std::mutex& mutex;
    std::condition_variable& room;
    bool& ending;
  } end{mutex, room, ending};
  for (std::size_t i = 0; i < std::min(static_cast<std::size_t>(threads), count); ++i) workers.emplace_back(work);

  std::unique_lock lock(mutex);
  while (taken < count) {
    ready.wait(lock, [&] { return made.contains(taken); });
    Slot slot = std::move(made.extract(taken).mapped());
    lock.unlock();
    if (slot.failure) std::rethrow_exception(slot.failure);
    take(taken, std::move(*slot.result));
    lock.lock();
    ++taken;
    room.notify_all();
  }
}

}  // namespace shori
