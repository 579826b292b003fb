// Runs functions for other threads on the thread that calls work(). libtorch and the CPU kernels keep the number of
// their threads for each thread that calls them, and each such thread has a pool of its own: one thread does all
// generation, the one that has loaded the model.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

namespace shori {

class ModelThread {
 public:
  // Runs what call() hands over until finish() was called.
  void work();
  void finish();
  // Has `task` run by the thread in work() and waits until it has; what it throws is thrown here. From one thread at a
  // time.
  void call(const std::function<void()>& task);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* task_ = nullptr;
  bool is_finished_ = false;
};

}  // namespace shori
