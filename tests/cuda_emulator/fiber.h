// A call stack that can be left in the middle and entered again: one emulated CUDA thread.
#pragma once

#include <cstddef>

namespace shori::emulator {

class Fiber {
 public:
  using Entry = void (*)(void*);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Prepares a run of entry(argument). An unfinished earlier run is forgotten, without unwinding.
  void start(Entry entry, void* argument);
  // Called by the scheduler: runs the fiber until it suspends or its entry returns. True while there is more to run.
  bool resume();
  // Called inside the running fiber: back to the scheduler.
  static void suspend();

 private:
  [[noreturn]] static void run();

  void* stack_;            // lowest usable byte, above a guard page
  void* saved_ = nullptr;  // stack pointer while the fiber is not running
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  bool finished_ = true;
};

}  // namespace shori::emulator
