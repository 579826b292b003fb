#include "src/chat/server/http/connection_threads.h"

#include <iterator>
#include <system_error>

namespace shori {
namespace {

thread_local bool one_too_many = false;

}  // namespace

bool ConnectionThreads::is_one_too_many() { return one_too_many; }

ConnectionThreads::Enqueued ConnectionThreads::enqueue(std::function<void()> task) {
  join_done();
  if (workers_.size() >= bound_ || !start_thread(task)) {
    one_too_many = true;
    task();
    one_too_many = false;
  }
  return Enqueued(true);
}

bool ConnectionThreads::start_thread(const std::function<void()>& task) {
  Worker& worker = workers_.emplace_back();
  try {
    worker.thread = std::thread([this, &worker, task] {
      task();
      const std::lock_guard lock(mutex_);
      worker.is_done = true;
    });
    return true;
  } catch (const std::system_error&) {  // the system has no more threads
    workers_.pop_back();
    return false;
  }
}

void ConnectionThreads::shutdown() {
  for (Worker& worker : workers_) worker.thread.join();
  workers_.clear();
}

void ConnectionThreads::join_done() {
  std::list<Worker> done;
  {
    const std::lock_guard lock(mutex_);
    for (auto worker = workers_.begin(); worker != workers_.end();) {
      const auto next = std::next(worker);
      if (worker->is_done) done.splice(done.end(), workers_, worker);
      worker = next;
    }
  }
  for (Worker& worker : done) worker.thread.join();
}

}  // namespace shori
