// Writes one checkpoint while training goes on.
#pragma once

#include <functional>
#include <future>

namespace shori {

// One write at a time, in a thread of its own. What the write reads must not change before wait() has returned: that is
// the barrier which keeps at most one finished step from being on the disk.
class CheckpointWriter {
 public:
  CheckpointWriter() = default;
  ~CheckpointWriter();  // as wait(), but tells an error instead of throwing it
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // wait() first, then the write begins.
  void start(std::function<void()> write);
  // Returns when nothing is being written. What the write threw is thrown here, once.
  void wait();

 private:
  std::future<void> writing_;
};

}  // namespace shori
