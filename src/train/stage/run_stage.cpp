#include "src/train/stage/run_stage.h"

#include <utility>
#include <vector>

#include "shori/ops/matmul_choices.h"
#include "shori/train/report.h"
#include "shori/util/byte_size.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
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

// A shortage of more layers than this has another cause, and each plan loads the base once.
constexpr int kMaxPlans = 4;

void log_stopped(const PreparedStage& stage, std::uint64_t step, const StageRunOptions& options) {
  log_info(concat("stopped by a signal: step ", step, " of ", stage.total_steps(), " is saved"));
  log_info(concat("resume with: ", options.resume_command));
}

// The state of the folder was found without its lock.
RunLock open_folder(const PreparedStage& stage, const StageRunOptions& options) {
  RunLock lock = RunLock::take(stage.folder.path());
  if (!options.resume && (stage.folder.newest_checkpoint() || stage.folder.read_done()))
    throw Error(Diagnostic("E0507", concat("another program began a run in `", stage.folder.path(),
                                           "` while this one was starting"))
                    .help("start again to see what is left to do"));
  set_log_file(stage.folder.file("train.log"));
  return lock;
}

// A run that resumes multiplies as it did, and a stage as the one before it.
void choose_products(const PreparedStage& stage, const StageRunOptions& options) {
  const MatmulKernel kernel = stage.config.matmul;
  if (options.resume) {
    restore_matmul_choices(stage.folder, RestoredChoices::kAll);
  } else if (stage.previous_stage >= 0 && kernel == MatmulKernel::kAuto) {
    restore_matmul_choices(RunFolder(options.init_from), RestoredChoices::kFrozen);
  }
  set_frozen_products(kernel == MatmulKernel::kCublasLt ? FrozenProducts::kCublasLt
                      : kernel == MatmulKernel::kNf4    ? FrozenProducts::kNf4
                      : options.resume                  ? FrozenProducts::kRecorded
                                                        : FrozenProducts::kAuto);
}

void prepare_device(const PreparedStage& stage, LoadedBase& base, const StageRunOptions& options) {
  if (!base.memory) return;
  choose_products(stage, options);
  run_trial_pass(stage, *base.model);
  // What the trial pass did not choose would not be in run.json.
  if (frozen_products() == FrozenProducts::kAuto) set_frozen_products(FrozenProducts::kRecorded);
}

// Up to here nothing of an older run has been touched, and only the disk space is still unchecked.
void replace_old_runs(const PreparedStage& stage, const RunFiles& files, OldRuns& old_runs) {
  if (old_runs.contains(stage.folder)) files.check_room(parent_path(stage.folder.path()));
  old_runs.move_aside();
}

// A rate or gradients of 0 throughout: the files are in order, but nothing was learnt.
void warn_if_unmoved(const PreparedStage& stage, const StageSession& session) {
  if (session.has_moved() || session.steps_trained() == 0) return;
  log_warning(Diagnostic("W0603", concat("stage ", stage.name, ": no weight of the adapter changed in ",
                                         counted(session.steps_trained(), "step")))
                  .note(concat("`learning_rate` ", format_double(stage.config.learning_rate), ", `warmup_steps` ",
                               stage.config.warmup_steps, ", steps of the run ", stage.total_steps()))
                  .help("look at `learning_rate` and `grad_norm` of each step in metrics.jsonl"));
}

void finish(PreparedStage& stage, StageSession& session, RunFiles& files, const LoadedBase& base) {
  const auto adapter_files = files.write_adapter(session.state(), session.adapter().arrays());
  if (base.memory) log_device_peak(*base.memory, *stage.memory);
  files.write_done(session.state(), adapter_files);
  stage.state = StageState::kDone;
  stage.step = session.state().step;
  stage.adapter_sha256 = adapter_files.at("adapter_model.safetensors");
  update_report(stage.folder.path());
  warn_if_unmoved(stage, session);
  log_result(concat("stage ", stage.name, " done: ", counted(stage.step, "step"), ", adapter sha256 ",
                    stage.adapter_sha256->substr(0, 8), " in ", stage.folder.adapter()));
}

// `lock`: none while the folder still has an old run.
bool train(PreparedStage& stage, LoadedBase& base, OldRuns& old_runs, const StageRunOptions& options,
           std::optional<RunLock>& lock) {
  StageSession session(stage, base);
  prepare_device(stage, base, options);
  RunFiles files(stage, session.base_identity(), session.ops().device, session.arrays(), options.resume_command,
                 options.restart_help);
  options.resume ? resume_run(session, files, options.init_from) : prepare_run(session, files, options.init_from);
  replace_old_runs(stage, files, old_runs);
  if (!lock) lock = open_folder(stage, options);
  options.on_begin();
  options.resume ? log_resumed(session) : begin_run(session, files, options.init_from);
  if (!run_steps(session, files, options)) {
    save_unless_saved(session, files);
    update_report(stage.folder.path());
    log_stopped(stage, session.state().step, options);
    return false;
  }
  finish(stage, session, files, base);
  return true;
}

// After a trial pass that ran out of memory: what the driver loads beside the plan differs from card to card, so with `auto`
// the stage keeps one layer less. False where that is not for the program to choose, or nothing is left to choose.
bool plan_with_less(PreparedStage& stage, const Error& error) {
  if (stage.config.activation_memory != ActivationMemory::kAuto) return false;
  const auto less = keep_one_layer_less(memory_demand(stage), *stage.memory, open_device().sm_count);
  if (!less) return false;
  log_info(concat("the trial pass ran out of GPU memory: ", error.diagnostics().front().notes.front()));
  log_info(concat("planned again with one layer less: ", checkpointing_text(less->checkpointing), ", ",
                  format_gib(less->total_bytes)));
  stage.memory = *less;
  return true;
}

// The base is loaded again for a smaller plan, because its memory is one block.
bool train_within_memory(PreparedStage& stage, std::optional<LoadedBase>& base, OldRuns& old_runs,
                         const StageRunOptions& options, std::optional<RunLock>& lock) {
  for (int plans_left = kMaxPlans - 1;; --plans_left) {
    try {
      return train(stage, prepare_base(stage, base), old_runs, options, lock);
    } catch (const TrialOutOfMemory& error) {
      if (plans_left == 0 || !plan_with_less(stage, error)) throw;
    }
    base.reset();
  }
}

}  // namespace

bool run_stage(PreparedStage& stage, std::optional<LoadedBase>& base, OldRuns& old_runs,
               const StageRunOptions& options) {
  set_stop_note("nothing of this stage has been saved yet");
  std::optional<RunLock> lock;
  if (!old_runs.contains(stage.folder)) lock = open_folder(stage, options);
  try {
    return train_within_memory(stage, base, old_runs, options, lock);
  } catch (const Stopped&) {
    // While a run was loaded to resume it, or while its adapter was written: the newest checkpoint has everything. Without
    // the lock the checkpoints are those of an old run.
    const auto step = lock ? stage.folder.newest_checkpoint() : std::nullopt;
    if (!step) throw;
    log_stopped(stage, *step, options);
    return false;
  } catch (const Error& error) {
    if (error.code() != "E0512" || !stage.folder.newest_checkpoint()) throw;
    std::vector<Diagnostic> diagnostics = error.diagnostics();
    diagnostics.back().help(concat("then resume: ", options.resume_command));
    throw Error(std::move(diagnostics));
  }
}

}  // namespace shori
