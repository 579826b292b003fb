// Parts of tasks that run in one order, whichever threads have the tasks: additions to sums that several tasks share.
#pragma once

#include <atomic>
#include <cstdint>

namespace shori {

// The turns of tasks at one sum: 0, 1, 2, ...
class Turns {
 public:
  void wait_for(std::int64_t turn) const {
    for (std::int64_t now = next_; now != turn; now = next_) next_.wait(now);
  }
  void pass() {
    ++next_;
    next_.notify_all();
  }

 private:
  std::atomic<std::int64_t> next_{0};
};

// The turn of one task. Tasks must begin in the order of their turns, as those of for_each_task do: then a task waits only
// for tasks that run. A task makes its turn before anything that may fail, so that the others never wait for a task that has
// failed.
class Turn {
 public:
  Turn(Turns& turns, std::int64_t number) : turns_(turns), number_(number) {}
  ~Turn() {
    if (!passed_) take([] {});
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Calls work() after the work of all turns before this one. Once.
  template <typename Work>
  void take(const Work& work) {
    turns_.wait_for(number_);
    work();
    passed_ = true;
    turns_.pass();
  }

 private:
  Turns& turns_;
  std::int64_t number_;
  bool passed_ = false;
};

}  // namespace shori
