// One generation at a time, the others in the order of their arrival, a bounded number of them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace shori {

class TurnQueue {
 public:
  explicit TurnQueue(std::size_t most_waiting) : most_waiting_(most_waiting) {}

  // The right to generate; the next in the queue gets it when this is destroyed.
  class Turn {
   public:
    Turn(TurnQueue& queue, std::uint64_t ticket) : queue_(queue), ticket_(ticket) {}
    ~Turn() { queue_.leave(ticket_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    friend class TurnQueue;
    TurnQueue& queue_;
    std::uint64_t ticket_;
  };

  // Waits for the turn. `gives_up` is asked several times a second while waiting: nullptr if it returns true. RequestError
  // 503 with a time to come again if `most_waiting` others wait already.
  std::shared_ptr<Turn> wait(const std::function<bool()>& gives_up);
  bool is_busy();

 private:
  void leave(std::uint64_t ticket);

  std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::uint64_t> tickets_;  // the first has the turn
  std::uint64_t next_ = 0;
};

}  // namespace shori
