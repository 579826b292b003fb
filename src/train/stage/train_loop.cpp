#include "src/train/stage/train_loop.h"

#include <algorithm>

#include "shori/train/report.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"
#include "src/train/stage/pins.h"
#include "src/train/stage/step_report.h"
#include "src/train/step/step_profile.h"

namespace shori {
namespace {

void check_base(StageSession& session, const RunFiles& files) {
  const auto changed = session.find_changed_weight();
  if (!changed) return;
  throw Error(Diagnostic("E0702", concat("memory of the frozen base changed: checksum of ", *changed, " differs"))
                  .note(concat("the last check passed at step ", files.durable_step()))
                  .help(concat("test the memory of this machine, then: ", files.resume_command())));
}

// Nothing was updated, so the state is that of the step before.
[[noreturn]] void refuse_non_finite(StageSession& session, RunFiles& files, std::span<const PackedBatch> batches,
                                    const StepResult& result) {
  Diagnostic diagnostic = session.describe_non_finite(batches, result);
  save_unless_saved(session, files);
  update_report(session.stage().folder.path());
  throw Error(diagnostic.note(concat("step ", session.state().step, " is safe"))
                  .help(concat("lower `learning_rate`, then: ", files.resume_command())));
}

StepMetrics metrics_of(const StageSession& session, const StepResult& result, std::size_t micro_batches) {
  return {.stage = session.stage().name,
          .step = session.state().step,
          .epoch = session.epoch(),
          .micro_batches = static_cast<std::int64_t>(micro_batches),
          .samples = result.samples,
          .tokens = result.tokens,
          .targets = result.targets,
          .loss = result.loss,
          .grad_norm = result.grad_norm,
          .clip_factor = result.clip_factor,
          .learning_rate = session.learning_rate(session.state().step),
          .update_max = result.update_max};
}

void save_if_due(StageSession& session, RunFiles& files, bool stopping) {
  const bool requested = take_pin_request();
  const auto interval = static_cast<std::uint64_t>(session.stage().config.save_steps);
  const bool due = session.state().step % interval == 0 || is_pin_due(session.stage(), session.state());
  if (due || requested || stopping || stop_requested()) save(session, files, requested);
}

StepTiming timing_of(std::uint64_t step, const StepResult& result, double seconds, double checkpoint_seconds) {
  return {.step = step,
          .seconds = seconds,
          .forward_seconds = result.forward_seconds,
          .backward_seconds = result.backward_seconds,
          .optimizer_seconds = result.optimizer_seconds,
          .checkpoint_seconds = checkpoint_seconds,
          .tokens_per_second = static_cast<double>(result.tokens) / std::max(seconds, 1e-9)};
}

// false: a stop was requested.
bool sample_if_due(StageSession& session, RunFiles& files) {
  const auto samples = session.sample_if_due();
  if (!samples) return false;
  for (const SampleMetrics& sample : *samples) {
    files.add_metrics(sample_line(sample));
    log_info(concat("sample ", sample.stage, " step ", sample.step, " ", sample.prompt, " ", sample.preset, ": ",
                    counted(sample.tokens, "token"), ", ", sample.stop, ": ", escape_for_log(sample.text, 200)));
  }
  return true;
}

// The end of the run has its report once its adapter is written.
bool ends_epoch(const StageSession& session) {
  const std::vector<std::uint64_t> ends = epoch_ends(session.stage().plan);
  return !session.is_done() && std::ranges::find(ends, session.state().step) != ends.end();
}

// false: a stop was requested, in the step, which is then not counted, or in the evaluation after it.
bool run_next_step(StageSession& session, RunFiles& files, const StageRunOptions& options, StepReport& report) {
  const double begun = now_seconds();
  const std::uint64_t step = session.state().step + 1;
  const std::vector<PackedBatch> batches = session.next_batches();
  std::optional<StepProfile> profile;
  if (options.is_profiled(step)) profile.emplace(session.model());
  const auto result =
      run_step(session, files, batches, [&](double done) { report.move(session, done, now_seconds() - begun); });
  if (!result) return false;
  if (profile) profile->write(step, session.stage().folder);
  profile.reset();
  files.add_metrics(step_line(metrics_of(session, *result, batches.size())));
  const double trained = now_seconds();
  const bool evaluated = evaluate_if_due(session, files);
  const double before_save = now_seconds();
  save_if_due(session, files, !evaluated);
  report.add(session, *result, timing_of(step, *result, trained - begun, now_seconds() - before_save),
             files.durable_step() == step, files);
  if (ends_epoch(session)) update_report(session.stage().folder.path());
  return evaluated;
}

}  // namespace

bool run_steps(StageSession& session, RunFiles& files, const StageRunOptions& options) {
  StepReport report(session, options.later_steps, options.seconds_left);
  // The stop before this start may have come between a step and its evaluation, a kill between a checkpoint and its pin.
  if (!evaluate_if_due(session, files)) return false;
  files.wait();
  if (session.state().step > 0 && is_pin_due(session.stage(), session.state())) files.pin(session.state().step);
  while (!session.is_done())
    if (stop_requested() || !run_next_step(session, files, options, report)) return false;
  files.wait();
  return true;
}

std::optional<StepResult> run_step(StageSession& session, RunFiles& files, const std::vector<PackedBatch>& batches,
                                   const PassProgress& progress) {
  auto result = session.compute_gradients(batches, progress);
  if (!result) return std::nullopt;
  if (!result->finite) refuse_non_finite(session, files, batches, *result);
  // The update changes what a checkpoint being written may still read, and at most one completed step may be lost.
  files.wait();
  session.apply_gradients(batches, *result);
  return result;
}

bool evaluate_if_due(StageSession& session, RunFiles& files) {
  const auto results = session.evaluate_if_due();
  if (!results) return false;
  for (const EvalMetrics& result : *results) {
    files.add_metrics(eval_line(result));
    log_info(
        concat("eval ", result.stage, " step ", result.step, " ", result.dataset, ": loss ", loss_text(result.loss)));
  }
  return sample_if_due(session, files);
}

void save(StageSession& session, RunFiles& files, bool requested) {
  files.wait();
  check_base(session, files);
  session.download();
  files.save(session.state(), requested, session.ops().device != Device::kCpu);
}

void save_unless_saved(StageSession& session, RunFiles& files) {
  if (files.saved_step() != session.state().step) save(session, files);
  files.wait();
}

}  // namespace shori
