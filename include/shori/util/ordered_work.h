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

// Calls begin(i) for i = 0 .. count - 1 in that order, one call at a time; make(i, what begin(i) returned) on `threads`
// threads at once; and take(i, what make(i) returned) in order on the calling thread, which works at the same time as
// they do. begin(i) is called when take(i - threads - 1) has returned: no more than threads + 1 results exist at once.
// What begin() or make() throws is thrown at its turn, so that of several failures the first in order is reported; all
// threads have ended on return.
template <typename Begin, typename Make, typename Take>
void make_in_order(std::size_t count, int threads, const Begin& begin, const Make& make, const Take& take) {
  using Begun = std::invoke_result_t<const Begin&, std::size_t>;
  struct Slot {
    std::optional<std::invoke_result_t<const Make&, std::size_t, Begun>> result;
    std::exception_ptr failure;
  };
  const std::size_t limit = static_cast<std::size_t>(threads) + 1;
  std::mutex turn;  // of begin(), locked before `mutex`
  std::mutex mutex;
  std::condition_variable room, ready;
  std::map<std::size_t, Slot> made;
  std::size_t next = 0, taken = 0;
  bool ending = false;

  const auto work = [&] {
    while (true) {
      std::unique_lock in_turn(turn);
      std::unique_lock lock(mutex);
      room.wait(lock, [&] { return ending || next == count || next < taken + limit; });
      if (ending || next == count) return;
      const std::size_t index = next++;
      lock.unlock();
      Slot slot;
      try {
        Begun begun = begin(index);
        in_turn.unlock();
        slot.result.emplace(make(index, std::move(begun)));
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

// The same where nothing has to begin in order.
template <typename Make, typename Take>
void make_in_order(std::size_t count, int threads, const Make& make, const Take& take) {
  struct Nothing {};
  make_in_order(
      count, threads, [](std::size_t) { return Nothing(); }, [&](std::size_t i, Nothing) { return make(i); }, take);
}

}  // namespace shori
