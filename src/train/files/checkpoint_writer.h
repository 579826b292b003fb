// Writes one checkpoint while training goes on.
#pragma once

#include <functional>
#include <future>

namespace shori {

// Runs one write at a time in a thread. The data that a write reads must not change until wait() returns. This also
// guarantees that at most one completed step is not yet on disk.
class CheckpointWriter {
 public:
  CheckpointWriter() = default;
  // Waits for the running write; an error is logged, not thrown.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the write before, then starts this one.
  void start(std::function<void()> write);
  // Returns when no write is running. Throws, once, what the write threw.
  void wait();

 private:
  std::future<void> writing_;
};

}  // namespace shori
