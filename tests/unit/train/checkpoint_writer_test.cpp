#include "src/train/files/checkpoint_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>

#include "shori/util/error.h"
#include "src/train/step/train_step.h"
#include "tests/support/tiny_mistral.h"

namespace shori {
namespace {

// A write that lasts until it is told to end.
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

struct Training {
  Training()
      : adapter(tiny_config(), {.rank = 4, .alpha = 16}, DType::kF32),
        model(tiny_weights(tiny_config(), DType::kF32), &adapter),
        optimizer(adapter, {}) {
    randomize(adapter, model.ops());
  }
  float sum() const {
    float total = 0;
    for (const LoraFactor& factor : adapter.factors())
      total = std::accumulate(factor.values().begin(), factor.values().end(), total);
    return total;
  }
  LoraAdapter adapter;
  Mistral model;
  AdamW8bit optimizer;
};

// The barrier: the update of a step happens only after the checkpoint before it is written.
TEST(CheckpointWriter, UpdateOfTheNextStepWaitsForIt) {
  Training training;
  const PackedBatch batch = pack_of(random_samples({40}, 160));
  const float before = training.sum();
  std::atomic<float> seen{0};
  Gate gate;
  CheckpointWriter writer;
  writer.start([&] {
    gate.pass();
    seen = training.sum();
  });
  std::thread([&] { gate.open(); }).detach();
  const auto result =
      train_step(training.model, training.adapter, training.optimizer, {&batch, 1}, 1, 1e-3, {}, &writer);
  ASSERT_TRUE(result);
  EXPECT_EQ(seen, before);
  EXPECT_NE(training.sum(), before);
}

TEST(CheckpointWriter, FailedWriteKeepsTheNextStepFromHappening) {
  Training training;
  const PackedBatch batch = pack_of(random_samples({40}, 160));
  const float before = training.sum();
  CheckpointWriter writer;
  writer.start([] { throw Error(Diagnostic("E0512", "the disk is broken")); });
  EXPECT_THROW(train_step(training.model, training.adapter, training.optimizer, {&batch, 1}, 1, 1e-3, {}, &writer),
               Error);
  EXPECT_EQ(training.sum(), before);
  EXPECT_EQ(training.optimizer.step_count(), 0u);
}

}  // namespace
}  // namespace shori
