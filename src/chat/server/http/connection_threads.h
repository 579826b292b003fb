// A thread for each connection of cpp-httplib, up to a bound.
#pragma once

#include <httplib.h>

#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

namespace shori {

class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(std::size_t bound) : bound_(bound) {}
  ~ConnectionThreads() override { shutdown(); }

  // Whether the task that runs on this thread is one too many, which has to be short.
  static bool is_one_too_many();

  // void up to cpp-httplib 0.14, bool since 0.15.
  using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue(std::declval<std::function<void()>>()));
  Enqueued enqueue(std::function<void()> task) override;
  void shutdown() override;  // waits for all tasks

 private:
  struct Worker {
    std::thread thread;
    bool is_done = false;
  };
  bool start_thread(const std::function<void()>& task);
  void join_done();

  std::size_t bound_;
  std::mutex mutex_;
  std::list<Worker> workers_;  // changed by the thread that accepts; `is_done` under the mutex
};

}  // namespace shori
