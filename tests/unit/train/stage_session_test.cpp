#include "src/train/stage/stage_session.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "tests/support/tiny_stage.h"

namespace shori {
namespace {

StepResult step(StageSession& session) {
  const std::vector<PackedBatch> batches = session.next_batches();
  auto result = session.compute_gradients(batches);
  EXPECT_TRUE(result && result->finite);
  session.apply_gradients(batches, *result);
  return *result;
}

// Everything that a checkpoint would hold, as bytes.
std::vector<std::string> bytes_of(StageSession& session) {
  session.download();
  std::vector<std::string> all;
  for (const NamedArray& array : session.arrays())
    all.emplace_back(static_cast<const char*>(array.data), array.bytes());
  return all;
}

void load(StageSession& session, const std::vector<std::string>& saved) {
  const std::vector<NamedArray> arrays = session.arrays();
  for (std::size_t i = 0; i < arrays.size(); ++i) saved[i].copy(static_cast<char*>(arrays[i].data), arrays[i].bytes());
}

TEST(StageSession, StepCountsTokensOfEachFile) {
  TinyStage stage(4);
  StageSession session(*stage, stage.base());
  EXPECT_EQ(session.start(""), std::nullopt);
  EXPECT_EQ(session.state().step, 0u);
  for (int i = 0; i < 4; ++i) step(session);
  // The first epoch has every sample once: 40 and 41 tokens of the first file, 42 and 43 of the second.
  EXPECT_EQ(session.state().step, 4u);
  EXPECT_EQ(session.state().adam_step, 4u);
  EXPECT_EQ(session.state().tokens, 40 + 41 + 42 + 43);
  EXPECT_EQ(session.state().targets, 39 + 40 + 41 + 42);
  EXPECT_EQ(session.state().tokens_of_file, (std::vector<std::int64_t>{40 + 41, 42 + 43}));
  EXPECT_EQ(session.epoch(), 1.0);
  EXPECT_FALSE(session.is_done());
  for (int i = 0; i < 4; ++i) step(session);
  EXPECT_TRUE(session.is_done());
}

TEST(StageSession, RestoredSessionContinuesBitForBit) {
  TinyStage stage;
  std::vector<std::string> saved, expected;
  TrainingState state;
  {
    StageSession session(*stage, stage.base());
    session.start("");
    step(session);
    saved = bytes_of(session);
    state = session.state();
    for (int i = 0; i < 3; ++i) step(session);
    expected = bytes_of(session);
  }
  StageSession resumed(*stage, stage.base());
  load(resumed, saved);
  resumed.restore(state, "");
  EXPECT_EQ(resumed.state().step, 1u);
  for (int i = 0; i < 3; ++i) step(resumed);
  EXPECT_EQ(bytes_of(resumed), expected);
}

TEST(StageSession, GradientsChangeNothingThatIsSaved) {
  TinyStage stage;
  StageSession session(*stage, stage.base());
  session.start("");
  const std::vector<std::string> before = bytes_of(session);
  const std::vector<PackedBatch> batches = session.next_batches();
  ASSERT_TRUE(session.compute_gradients(batches));
  EXPECT_EQ(bytes_of(session), before);
  EXPECT_EQ(session.state().step, 0u);
}

TEST(StageSession, EvaluatesAStepOnceAndKeepsTheBest) {
  TinyStage stage;
  stage->config.eval_steps = 1;
  stage->data.held_out = {{"val", {stage->data.train[0], stage->data.train[1]}}};
  StageSession session(*stage, stage.base());
  session.start("");
  const auto first = session.evaluate_if_due();
  ASSERT_TRUE(first);
  ASSERT_EQ(first->size(), 1u);
  EXPECT_EQ(first->front().dataset, "val");
  EXPECT_EQ(first->front().targets, 39 + 40);
  EXPECT_EQ(session.state().guards.best_step, std::nullopt) << "step 0 is not trained";
  EXPECT_TRUE(session.evaluate_if_due()->empty());
  step(session);
  EXPECT_EQ(session.evaluate_if_due()->size(), 1u);
  EXPECT_EQ(session.state().guards.best_step, 1u);
  EXPECT_EQ(session.state().guards.evaluated_step, 1u);
}

// Without targets there are no gradients: B stays zero, A only decays.
void stop_learning(TinyStage& stage) {
  for (Sample& sample : stage->data.train) sample.trained.assign(sample.ids.size(), 0);
  stage.plan();
}

// The factors that E0603 names after a step; none if there is no error.
std::size_t unmoved_factors(StageSession& session) {
  try {
    step(session);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0603");
    return error.diagnostics().front().notes.size();
  }
  return 0;
}

TEST(StageSession, FactorsThatDoNotMoveAreAnErrorAfterTheSecondStep) {
  TinyStage stage;
  stop_learning(stage);
  StageSession session(*stage, stage.base());
  session.start("");
  EXPECT_EQ(unmoved_factors(session), 0u);
  EXPECT_EQ(unmoved_factors(session), session.adapter().factors().size());
}

TEST(StageSession, ResumedRunComparesWithTheValuesBeforeStepOne) {
  TinyStage stage;
  stop_learning(stage);
  StageSession session(*stage, stage.base());
  session.start("");
  step(session);
  const std::vector<std::string> saved = bytes_of(session);
  StageSession resumed(*stage, stage.base());
  load(resumed, saved);
  resumed.restore(session.state(), "");
  EXPECT_EQ(unmoved_factors(resumed), resumed.adapter().factors().size());
}

TEST(StageSession, LearningRateZeroDoesNotCountAsAStepThatMoves) {
  TinyStage stage;
  stop_learning(stage);
  stage->config.lr_scheduler = LrScheduler::kLinear;
  stage->config.warmup_steps = 2;  // the first step has rate 0
  StageSession session(*stage, stage.base());
  session.start("");
  EXPECT_EQ(unmoved_factors(session), 0u);
  EXPECT_EQ(unmoved_factors(session), 0u);
  EXPECT_GT(unmoved_factors(session), 0u);
}

TEST(StageSession, NamesTheSampleOfAStepThatIsNotFinite) {
  TinyStage stage;
  StageSession session(*stage, stage.base());
  session.start("");
  for (LoraFactor& factor : session.adapter().factors()) std::ranges::fill(factor.values(), 1e38f);
  session.adapter().upload(session.ops());
  const std::vector<PackedBatch> batches = session.next_batches();
  const auto result = session.compute_gradients(batches);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->finite);
  const Diagnostic diagnostic = session.describe_non_finite(batches, *result);
  EXPECT_EQ(diagnostic.code, "E0601");
  ASSERT_EQ(diagnostic.notes.size(), 2u);
  EXPECT_EQ(diagnostic.notes[1].substr(0, 7), "sample ");
  EXPECT_EQ(session.state().step, 0u);
}

TEST(StageSession, NamesTheHeldOutSampleWhoseLossIsNotFinite) {
  TinyStage stage;
  stage->data.held_out = {{"val", {stage->data.train[1], stage->data.train[2]}}};
  StageSession session(*stage, stage.base());
  session.start("");
  for (LoraFactor& factor : session.adapter().factors()) std::ranges::fill(factor.values(), 1e38f);
  session.adapter().upload(session.ops());
  try {
    session.evaluate_if_due();
    ADD_FAILURE() << "the loss should not be finite";
  } catch (const Error& error) {
    const Diagnostic& diagnostic = error.diagnostics().front();
    EXPECT_EQ(diagnostic.code, "E0601");
    EXPECT_EQ(diagnostic.message, "loss of the held-out data `val` is not finite before step 1");
    const std::string sample = stage->data.location_of(stage->data.train[1]);
    EXPECT_EQ(diagnostic.notes, std::vector<std::string>{concat("sample ", sample)});
  }
}

}  // namespace
}  // namespace shori
