#include "src/chat/server/model_thread.h"

#include <exception>

namespace shori {

void ModelThread::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return task_ || is_finished_; });
    if (!task_) return;
    const std::function<void()>& task = *task_;
    lock.unlock();
    task();
    lock.lock();
    task_ = nullptr;
    changed_.notify_all();
  }
}

void ModelThread::finish() {
  const std::lock_guard lock(mutex_);
  is_finished_ = true;
  changed_.notify_all();
}

void ModelThread::call(const std::function<void()>& task) {
  std::exception_ptr problem;
  const std::function<void()> guarded = [&task, &problem] {
    try {
      task();
    } catch (...) {
      problem = std::current_exception();
    }
  };
  std::unique_lock lock(mutex_);
  task_ = &guarded;
  changed_.notify_all();
  changed_.wait(lock, [this, &guarded] { return task_ != &guarded; });
  lock.unlock();
  if (problem) std::rethrow_exception(problem);
}

}  // namespace shori
