#include "src/train/files/metrics.h"

#include <gtest/gtest.h>

#include "shori/util/hash.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

TEST(Metrics, StepLineHasTheFixedForm) {
  StepMetrics step{"high", 118, 0.8027210884353742, 2, 5, 32510, 32505, 1.8421, 0.412, 1.0, 3.75e-05, 0.000113};
  EXPECT_EQ(
      step_line(step),
      R"({"type":"step","stage":"high","step":118,"epoch":0.8027210884353742,"micro_batches":2,"samples":5,"tokens":32510,)"
      R"("targets":32505,"loss":1.8421,"grad_norm":0.412,"clip_factor":1.0,"learning_rate":3.75e-05,"update_max":0.000113})");
}

TEST(Metrics, EvalAndEndLines) {
  EvalMetrics eval{"high", 4, 1.0, "val", 3, 100, 0.0, {{"message", 0.5}}, {}};
  EXPECT_EQ(
      eval_line(eval),
      R"({"type":"eval","stage":"high","step":4,"epoch":1.0,"dataset":"val","samples":3,"targets":100,"loss":0.0,)"
      R"("perplexity":1.0,"loss_by_role":{"message":0.5},"loss_by_category":{}})");
  EXPECT_EQ(end_line({"high", 4, 2.0, 10, 9, "ab"}),
            R"({"type":"end","stage":"high","step":4,"epoch":2.0,"tokens":10,"targets":9,"adapter_sha256":"ab"})");
}

// The time of day is that of the call.
std::string without_time(std::string line) {
  const std::size_t begin = line.find(R"("time":)");
  return line.erase(begin, line.find(R"("seconds":)") - begin);
}

TEST(Metrics, TimingLineHasWhatIsKnown) {
  StepTiming timing{3, 2.5, 1.0, 1.25, 0.25, 0.5, 640.0, 100, 200, {}, {}, {}};
  const std::string seconds =
      R"({"step":3,"seconds":2.5,"forward_seconds":1.0,"backward_seconds":1.25,"optimizer_seconds":0.25,)"
      R"("checkpoint_seconds":0.5,"tokens_per_second":640.0,)";
  EXPECT_EQ(without_time(timing_line(timing)), seconds + R"("memory_bytes":100,"memory_peak_bytes":200})");
  timing.share_of_peak = 0.375;
  timing.gpu_memory_bytes = 300;
  timing.gpu_memory_peak_bytes = 250;
  EXPECT_EQ(without_time(timing_line(timing)),
            seconds + R"("share_of_peak":0.375,"memory_bytes":100,"memory_peak_bytes":200,)"
                      R"("gpu_memory_bytes":300,"gpu_memory_peak_bytes":250})");
}

TEST(LineLog, KnowsItsLengthAndHash) {
  TemporaryFolder folder;
  LineLog log(folder.path(), "m.jsonl", 0, std::nullopt);
  log.add("one");
  log.add("two");
  EXPECT_EQ(log.bytes(), 0u);
  log.write(true);
  EXPECT_EQ(folder.read("m.jsonl"), "one\ntwo\n");
  EXPECT_EQ(log.bytes(), 8u);
  EXPECT_EQ(log.sha256(), sha256_hex("one\ntwo\n"));
}

TEST(LineLog, ResumeCutsWhatCameAfterTheCheckpoint) {
  TemporaryFolder folder;
  folder.write("m.jsonl", "one\ntwo\nthree\n");
  LineLog log(folder.path(), "m.jsonl", 8, sha256_hex("one\ntwo\n"));
  log.add("again");
  log.write(true);
  EXPECT_EQ(folder.read("m.jsonl"), "one\ntwo\nagain\n");
  EXPECT_EQ(log.sha256(), sha256_hex("one\ntwo\nagain\n"));
}

TEST(LineLog, ShorterThanRecordedGoesOnAfterWhatIsThere) {
  TemporaryFolder folder;
  folder.write("m.jsonl", "one\n");
  LineLog log(folder.path(), "m.jsonl", 8, sha256_hex("one\ntwo\n"));
  log.add("three");
  log.write(false);
  EXPECT_EQ(folder.read("m.jsonl"), "one\nthree\n");
}

}  // namespace
}  // namespace shori
