// The steps of a run, each with what belongs to it: metrics, evaluation, checkpoint, progress line.
#pragma once

#include "src/train/stage/run_files.h"
#include "src/train/stage/run_stage.h"
#include "src/train/stage/stage_session.h"

namespace shori {

// Runs the steps that are left; each is durable before the next one's update. Returns true when all are done and saved.
// false: a stop was requested; the last completed step may not be saved yet. E0601 or E0605 if a loss or gradient norm
// is not finite, with the step before it saved; else the errors of the session and the files.
bool run_steps(StageSession& session, RunFiles& files, const StageRunOptions& options);

// The next step up to the optimizer's update. nullopt: a stop was requested and nothing changed.
std::optional<StepResult> run_step(StageSession& session, RunFiles& files, const std::vector<PackedBatch>& batches,
                                   const PassProgress& progress = {});

// Adds the evaluation and the samples that are due to the metrics. false: a stop was requested; --resume makes what is
// missing later.
bool evaluate_if_due(StageSession& session, RunFiles& files);

// Checks the frozen base (E0702), then writes a checkpoint of the current step: on the CPU before it returns, for a
// device in the background. `requested`: by the user, so that it is kept.
void save(StageSession& session, RunFiles& files, bool requested = false);
// Returns when the current step is durable.
void save_unless_saved(StageSession& session, RunFiles& files);

}  // namespace shori
