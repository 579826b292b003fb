// The number of OpenMP's threads in a test.
#pragma once

#include <omp.h>

#include <filesystem>
#include <iterator>

namespace shori {

// Restores the number of threads that other tests expect.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadCount() { omp_set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

inline int threads_of_process() {
  return static_cast<int>(std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
}

// More threads than the process has, so that a parallel region of `count` threads has to start some. OpenMP keeps them until
// the next region.
class MoreThreads {
 public:
  const int count = threads_of_process() + 4;
  bool were_started() const { return threads_of_process() >= count; }

 private:
  ThreadCount threads_{count};
};

}  // namespace shori
