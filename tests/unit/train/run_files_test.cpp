#include "src/train/stage/run_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "src/train/stage/train_loop.h"
#include "tests/support/tiny_run.h"

namespace shori {
namespace {

TEST(RunFiles, LoadReturnsWhatWasSaved) {
  TinyStage tiny;
  std::vector<float> saved;
  TrainingState state;
  {
    TinyRun run(tiny);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    run.files.add_metrics("line of step 1");
    save(run.session, run.files);
    saved = values_of(run.session);
    state = run.session.state();
    // What comes after the checkpoint is lost: a resume makes it again.
    std::ofstream(tiny.file("metrics.jsonl"), std::ios::app) << "line of step 2\n";
  }
  StageSession session(*tiny, tiny.base());
  session.adapter().initialize(session.ops(), 99);
  RunFiles files(*tiny, session.base_identity(), Device::kCpu, session.arrays(), "");
  session.restore(files.load(), "");
  EXPECT_EQ(session.state().step, 1u);
  EXPECT_EQ(session.state().tokens_of_file, state.tokens_of_file);
  EXPECT_EQ(values_of(session), saved);
  EXPECT_EQ(files.saved_step(), 1u);
  EXPECT_EQ(files.durable_step(), 1u);
  EXPECT_EQ(tiny.read("metrics.jsonl"), "line of step 1\n");
}

TEST(RunFiles, CheckpointsOfARunHaveOneSize) {
  TinyStage tiny;
  TinyRun run(tiny);
  ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
  save(run.session, run.files);
  EXPECT_EQ(std::filesystem::file_size(tiny.file("checkpoints/step-000000.safetensors")),
            std::filesystem::file_size(tiny.file("checkpoints/step-000001.safetensors")));
}

TEST(RunFiles, RequestedCheckpointIsKeptBesideTheRollingOnes) {
  TinyStage tiny;
  TinyRun run(tiny);
  ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
  save(run.session, run.files, true);
  EXPECT_TRUE(std::filesystem::exists(tiny.file("checkpoints/requested/step-000001.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(tiny.file("checkpoints/requested/step-000000.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(tiny.file("checkpoints/pinned"))) << "neither an epoch's end nor the best";
}

TEST(RunFiles, EndWritesAdapterLastLineAndDone) {
  TinyStage tiny;
  TinyRun run(tiny);
  const auto adapter = run.files.write_adapter(run.session.state(), run.session.adapter().arrays());
  EXPECT_EQ(adapter.size(), 2u);
  EXPECT_NE(tiny.read("metrics.jsonl").find(adapter.at("adapter_model.safetensors")), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(tiny.file("done.json")));
  EXPECT_FALSE(std::filesystem::exists(tiny.file("checkpoints/.next.tmp"))) << "reserved space is given back";
  run.files.write_done(run.session.state(), adapter);
  EXPECT_NE(tiny.read("done.json").find(adapter.at("adapter_config.json")), std::string::npos);
}

TEST(RunFiles, ParentOfTheRunComesBackFromRunJson) {
  TinyStage tiny;
  const std::string parent(64, 'a');
  {
    const TinyRun run(tiny, parent);
  }
  StageSession session(*tiny, tiny.base());
  RunFiles files(*tiny, session.base_identity(), Device::kCpu, session.arrays(), "");
  session.restore(files.load(), "");
  files.write_done(session.state(), {});
  EXPECT_NE(tiny.read("done.json").find("\"parent\": \"" + parent + "\""), std::string::npos);
}

}  // namespace
}  // namespace shori
