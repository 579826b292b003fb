#include "src/train/stage/run_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "shori/train/adapter_file.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/train/plan/stage_options.h"
#include "src/train/stage/pins.h"

namespace shori {

RunFiles::RunFiles(const PreparedStage& stage, BaseIdentity base, Device device, std::vector<NamedArray> arrays,
                   std::string resume_command, std::string restart_help)
    : stage_(stage),
      folder_(stage.folder),
      identity_{std::move(base), std::nullopt, device},
      resume_command_(std::move(resume_command)),
      restart_help_(std::move(restart_help)),
      checkpoints_(stage.folder.path(), std::move(arrays)) {}

void RunFiles::plan(const std::optional<std::string>& parent) {
  identity_.parent = parent;
  checkpoints_.set_manifest_bytes(manifest_bytes(stage_, identity_));
}

void RunFiles::create() {
  folder_.write("pack_plan.bin", stage_.plan_bytes);
  folder_.write("data_report.json", stage_.ledger.to_json());
  folder_.write("resolved.yaml", resolved_config_text(stage_));
  folder_.write("run.json", run_json(stage_, identity_));
  metrics_ = std::make_unique<LineLog>(folder_.path(), "metrics.jsonl", 0, "");
  timing_ = std::make_unique<LineLog>(folder_.path(), "timing.jsonl", 0, "");
  events_ = std::make_unique<EventFile>(EventFile::create(folder_.path(), stage_.config));
  sync_log_names();
  checkpoints_.prepare();
}

// Their lines are synced with each save, which keeps nothing of a file whose name is lost.
void RunFiles::sync_log_names() const {
  const FileDescriptor directory = open_directory(folder_.path());
  if (const IoResult synced = sync_file(directory.get()); !synced)
    throw Error(Diagnostic("E0512", concat("syncing ", folder_.path(), " failed: ", error_text(synced.error)))
                    .help("check the disk"));
}

TrainingState RunFiles::load() {
  const auto loaded = checkpoints_.load_newest(restart_help_);
  SHORI_CHECK(loaded, "a resume without checkpoints");
  if (const std::string parent = text_member(loaded->manifest, "parent"); !parent.empty()) identity_.parent = parent;
  Manifest manifest = read_manifest(loaded->manifest, stage_);
  metrics_ =
      std::make_unique<LineLog>(folder_.path(), "metrics.jsonl", manifest.metrics_bytes, manifest.metrics_sha256);
  std::error_code absent;
  const auto timing_bytes = std::filesystem::file_size(folder_.file("timing.jsonl"), absent);
  timing_ = std::make_unique<LineLog>(folder_.path(), "timing.jsonl", absent ? 0 : timing_bytes, std::nullopt);
  events_ = std::make_unique<EventFile>(EventFile::resume(folder_.path(), stage_.config, manifest.state.step));
  sync_log_names();
  checkpoints_.prepare();
  saved_ = durable_ = manifest.state.step;
  // A kill may have come between a pin and the removal of what it replaces.
  pins_unsettled_ = true;
  if (!folder_.readable_run()) {
    folder_.write("run.json", run_json(stage_, identity_));
    log_info(concat("run.json could not be read: made again from the checkpoint of step ", saved_));
  }
  return std::move(manifest.state);
}

void RunFiles::add_metrics(const std::string& line) {
  metrics_->add(line);
  events_->add_metrics(line);
}

void RunFiles::add_timing(const StepTiming& timing) {
  const std::string line = timing_line(timing);
  timing_->add(line);
  timing_->write(false);
  events_->add_timing(line);
  // For those who watch. What comes after the last save is cut off by a resume.
  if (timing.step == saved_) return;
  metrics_->write(false);
  events_->write();
}

Manifest RunFiles::manifest_of(const TrainingState& state) const {
  return {state, metrics_->bytes(), metrics_->sha256()};
}

// Events come before the metrics, so that after a kill no line that a resume keeps lacks its events. Metrics come before
// the checkpoint, so that a durable one never names lines that are not on the disk. Outdated pins go only when the
// new one is durable, so that after a kill everything that the newest checkpoint names is there.
void RunFiles::save(const TrainingState& state, bool requested, bool in_background) {
  wait();
  events_->write();
  metrics_->write(true);
  saved_ = state.step;
  const bool pin = is_pin_due(stage_, state), settle = std::exchange(pins_unsettled_, false) || pin;
  const bool is_logged = requested || pin || state.step % stage_.log_interval() == 0;
  const auto write = [this, requested, pin, settle, is_logged, reasons = pin_reasons(stage_, state), step = state.step,
                      fields = manifest_json(stage_, identity_, manifest_of(state))] {
    checkpoints_.write(step, fields);
    set_stop_note(concat("step ", step, " is safe; resume with: ", resume_command_));
    if (is_logged) log_detail(concat("saved step ", step, " (durable)"));
    if (requested) (void)checkpoints_.pin(step, PinFolder::kRequested);
    const bool is_pinned = !pin || checkpoints_.pin(step, PinFolder::kPinned);
    if (settle && is_pinned) checkpoints_.drop_outdated_pins(reasons);
    checkpoints_.keep_newest(static_cast<std::size_t>(stage_.config.save_total_limit));
  };
  if (in_background) return writer_.start(write);
  write();
  wait();
}

void RunFiles::wait() {
  writer_.wait();
  durable_ = saved_;
}

std::map<std::string, std::string> RunFiles::write_adapter(const TrainingState& state,
                                                           const std::vector<NamedArray>& factors) {
  // A run that was killed before done.json may have left one; the same state makes the same files again.
  std::error_code ignored;
  std::filesystem::remove_all(folder_.adapter(), ignored);
  // There is no next checkpoint: on a full disk its room is the adapter's.
  checkpoints_.release_next();
  auto files =
      write_adapter_folder(folder_.path(), "adapter", adapter_settings(stage_.config, identity_.base.name), factors,
                           {{"shori.base_fingerprint", identity_.base.fingerprint},
                            {"shori.tokenizer_sha256", stage_.data.tokenizer_sha256},
                            {"shori.config_hash", stage_.config_hash},
                            {"shori.parent", identity_.parent.value_or("")},
                            {"shori.step", concat(state.step)}},
                           AdapterDType::kF32, false, "the last checkpoint is safe");
  events_->write();
  metrics_->add(end_line({stage_.name, state.step, stage_.plan.epoch_after(state.step), state.tokens, state.targets,
                          files.at("adapter_model.safetensors")}));
  metrics_->write(true);
  return files;
}

void RunFiles::write_done(const TrainingState& state, const std::map<std::string, std::string>& adapter_files) {
  folder_.write("done.json", done_json(stage_, identity_, state.guards.best_step, adapter_files));
  // After a stop inside the last evaluation only done.json has its result. So the checkpoint that was the best before
  // stays until now.
  checkpoints_.drop_outdated_pins(pin_reasons(stage_, state));
}

}  // namespace shori
