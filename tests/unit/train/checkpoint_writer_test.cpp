#include "src/train/files/checkpoint_writer.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "shori/util/error.h"

namespace shori {
namespace {

// A write waits in pass() until open() is called.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST(CheckpointWriter, WritesBesideTheCallerAndOneAfterTheOther) {
  Gate gate;
  std::vector<int> order;
  CheckpointWriter writer;
  writer.wait();
  writer.start([&] {
    gate.pass();
    order.push_back(1);
  });
  EXPECT_TRUE(order.empty());
  gate.open();
  writer.start([&] { order.push_back(2); });
  writer.wait();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(CheckpointWriter, ThrowsWhatTheWriteThrewOnce) {
  CheckpointWriter writer;
  writer.start([] { throw Error(Diagnostic("E0512", "the disk is broken")); });
  EXPECT_THROW(writer.wait(), Error);
  EXPECT_NO_THROW(writer.wait());
}

TEST(CheckpointWriter, StartThrowsWhatTheWriteBeforeThrew) {
  CheckpointWriter writer;
  writer.start([] { throw Error(Diagnostic("E0512", "the disk is broken")); });
  EXPECT_THROW(writer.start([] {}), Error);
}

TEST(CheckpointWriter, LogsAnErrorThatNobodyWaitedFor) {
  testing::internal::CaptureStderr();
  {
    CheckpointWriter writer;
    writer.start([] { throw Error(Diagnostic("E0512", "the disk is broken")); });
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("the disk is broken"), std::string::npos);
}

}  // namespace
}  // namespace shori
