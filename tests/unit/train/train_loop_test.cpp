#include "src/train/stage/train_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "shori/util/error.h"
#include "tests/support/infinite_gradient.h"
#include "tests/support/tiny_run.h"

namespace shori {
namespace {

// Every write of a checkpoint fails once its folder is gone.
void break_checkpoints(const TinyStage& tiny) { std::filesystem::remove_all(tiny.file("checkpoints")); }

// The barrier: a step's update happens only after the checkpoint of the step before is on the disk.
TEST(TrainLoop, UpdateWaitsForTheCheckpointBeingWritten) {
  TinyStage tiny;
  TinyRun run(tiny);
  ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
  break_checkpoints(tiny);
  run.session.download();
  run.files.save(run.session.state(), false, true);
  const std::vector<float> before = values_of(run.session);
  try {
    run_step(run.session, run.files, run.session.next_batches());
    ADD_FAILURE() << "the write had failed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0512");
  }
  EXPECT_EQ(values_of(run.session), before);
  EXPECT_EQ(run.session.state().step, 1u);
  EXPECT_EQ(run.session.optimizer().step_count(), 1u);
}

TEST(TrainLoop, CheckpointInTheBackgroundHasTheStepItWasStartedWith) {
  TinyStage tiny;
  std::vector<float> saved;
  {
    TinyRun run(tiny);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    saved = values_of(run.session);
    run.session.download();
    run.files.save(run.session.state(), false, true);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    EXPECT_EQ(run.files.durable_step(), 1u);
    EXPECT_NE(values_of(run.session), saved);
  }
  StageSession session(*tiny, tiny.base());
  RunFiles files(*tiny, session.base_identity(), Device::kCpu, session.arrays(), "");
  session.restore(files.load(), "");
  EXPECT_EQ(session.state().step, 1u);
  EXPECT_EQ(values_of(session), saved);
}

TEST(TrainLoop, StepThatIsNotFiniteIsAnErrorWithTheStepBeforeSaved) {
  TinyStage tiny;
  TinyRun run(tiny);
  for (LoraFactor& factor : run.session.adapter().factors()) std::ranges::fill(factor.values(), 1e38f);
  run.session.adapter().upload(run.session.ops());
  try {
    run_step(run.session, run.files, run.session.next_batches());
    ADD_FAILURE() << "the loss should not be finite";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0601");
    EXPECT_EQ(error.diagnostics().front().notes.back(), "step 0 is safe");
  }
  EXPECT_EQ(run.session.state().step, 0u);
}

// What a resume would start from.
void expect_resume_at(TinyStage& tiny, std::uint64_t step, const std::vector<float>& values) {
  StageSession session(*tiny, tiny.base());
  RunFiles files(*tiny, session.base_identity(), Device::kCpu, session.arrays(), "");
  session.restore(files.load(), "");
  EXPECT_EQ(session.state().step, step);
  EXPECT_EQ(values_of(session), values);
}

TEST(TrainLoop, GradientThatIsNotFiniteIsAnErrorAndTheLastCheckpointStays) {
  TinyStage tiny;
  std::vector<float> saved;
  {
    TinyRun run(tiny);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    save(run.session, run.files);
    saved = values_of(run.session);
    make_gradient_infinite(run.session.model(), run.session.adapter());
    try {
      run_step(run.session, run.files, run.session.next_batches());
      ADD_FAILURE() << "the gradient should not be finite";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0605");
      EXPECT_EQ(error.diagnostics().front().notes.back(), "step 1 is safe");
    }
    EXPECT_EQ(run.session.state().step, 1u);
    EXPECT_EQ(run.session.optimizer().step_count(), 1u);
  }
  expect_resume_at(tiny, 1, saved);
}

TEST(TrainLoop, FlippedBitOfTheBaseIsNotSavedAndTheLastCheckpointStays) {
  TinyStage tiny;
  std::vector<float> saved;
  {
    TinyRun run(tiny);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    save(run.session, run.files);
    saved = values_of(run.session);
    ASSERT_TRUE(run_step(run.session, run.files, run.session.next_batches()));
    auto& weights = const_cast<MistralWeights&>(run.session.model().weights());
    std::get<Nf4Weight>(weights.layers[1][Linear::kUp]).view().codes[7] ^= 0x20;
    try {
      save(run.session, run.files);
      ADD_FAILURE() << "the checksum should differ";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0702");
      EXPECT_NE(error.diagnostics().front().message.find("layers.1.mlp.up_proj"), std::string::npos)
          << error.diagnostics().front().message;
      EXPECT_EQ(error.diagnostics().front().notes.front(), "the last check passed at step 1");
    }
  }
  expect_resume_at(tiny, 1, saved);
}

TEST(TrainLoop, RunsToTheEndAndWritesALinePerStep) {
  TinyStage tiny;
  TinyRun run(tiny);
  ASSERT_TRUE(run_steps(run.session, run.files, {}));
  EXPECT_TRUE(run.session.is_done());
  EXPECT_EQ(run.files.durable_step(), 8u);
  const std::string lines = tiny.read("metrics.jsonl");
  EXPECT_EQ(std::ranges::count(lines, '\n'), 8);
  EXPECT_TRUE(std::filesystem::exists(tiny.file("checkpoints/pinned/step-000004.safetensors"))) << "an epoch's end";
  EXPECT_TRUE(std::filesystem::exists(tiny.file("checkpoints/pinned/step-000008.safetensors")));
}

}  // namespace
}  // namespace shori
