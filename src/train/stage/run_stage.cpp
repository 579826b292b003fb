#include "src/train/stage/run_stage.h"

#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/train/stage/run_files.h"
#include "src/train/stage/stage_session.h"
#include "src/train/stage/start_run.h"
#include "src/train/stage/step_report.h"
#include "src/train/stage/train_loop.h"
#include "src/train/stage/trial_pass.h"

namespace shori {
namespace {

void log_stopped(const PreparedStage& stage, std::uint64_t step, const StageRunOptions& options) {
  log_info(concat("stopped by a signal: step ", step, " of ", stage.total_steps(), " is saved"));
  log_info(concat("resume with: ", options.resume_command));
}

void prepare_device(const PreparedStage& stage, LoadedBase& base, const StageRunOptions& options) {
  if (!base.memory) return;
  if (options.resume) restore_matmul_choices(stage.folder);
  run_trial_pass(stage, *base.model);
}

void finish(PreparedStage& stage, StageSession& session, RunFiles& files, const LoadedBase& base) {
  const auto adapter_files = files.write_adapter(session.state(), session.adapter().arrays());
  if (base.memory) log_device_peak(*base.memory, *stage.memory);
  files.write_done(adapter_files);
  stage.state = StageState::kDone;
  stage.step = session.state().step;
  stage.adapter_sha256 = adapter_files.at("adapter_model.safetensors");
  log_info(concat("stage ", stage.name, " done: ", stage.step, " steps, adapter sha256 ",
                  stage.adapter_sha256->substr(0, 8), " in ", stage.folder.adapter()));
}

bool train(PreparedStage& stage, LoadedBase& base, const StageRunOptions& options) {
  StageSession session(stage, base);
  prepare_device(stage, base, options);
  RunFiles files(stage, session.base_identity(), session.ops().device, session.arrays(), options.resume_command);
  options.resume ? resume_run(session, files, options.init_from) : begin_run(session, files, options.init_from);
  if (!run_steps(session, files, options)) {
    save_unless_saved(session, files);
    log_stopped(stage, session.state().step, options);
    return false;
  }
  finish(stage, session, files, base);
  return true;
}

}  // namespace

bool run_stage(PreparedStage& stage, std::optional<LoadedBase>& base, const StageRunOptions& options) {
  const RunLock lock = RunLock::take(stage.folder.path());
  set_log_file(stage.folder.file("train.log"));
  set_stop_note("nothing of this stage has been saved yet");
  try {
    return train(stage, prepare_base(stage, base), options);
  } catch (const Stopped&) {
    // While a run was loaded to resume it, or while its adapter was written: the newest checkpoint has everything.
    const auto step = stage.folder.newest_checkpoint();
    if (!step) throw;
    log_stopped(stage, *step, options);
    return false;
  }
}

}  // namespace shori
