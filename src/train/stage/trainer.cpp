#include "src/train/stage/trainer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "shori/ops/op_profile.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "src/train/plan/make_batch.h"
#include "src/train/stage/stage_trainer.h"
#include "src/train/step/evaluation.h"

namespace shori {
namespace {

// Resident and peak resident memory of this process in bytes.
struct ProcessMemory {
  std::int64_t now = 0, peak = 0;
};
ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kib = 0;
    if (word == "VmRSS:" && status >> kib) memory.now = kib * 1024;
    if (word == "VmHWM:" && status >> kib) memory.peak = kib * 1024;
  }
  return memory;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string profile_json(std::uint64_t step, const std::vector<OpProfile::Line>& lines) {
  Json ops = Json::array();
  for (const OpProfile::Line& line : lines) {
    Json op = {{"op", line.op}, {"calls", line.calls}, {"milliseconds", line.seconds * 1e3}};
    if (line.work.flop > 0) op["tflop_per_second"] = line.tflop_per_second();
    if (line.work.bytes > 0) op["gb_per_second"] = line.gb_per_second();
    ops.push_back(std::move(op));
  }
  return json_text({{"format", "shori-profile/1"}, {"step", step}, {"ops", std::move(ops)}}, 2) + "\n";
}

void log_stopped(std::uint64_t step, std::uint64_t total, const std::string& resume_command) {
  log_info("stopped by a signal: step " + std::to_string(step) + " of " + std::to_string(total) + " is saved");
  log_info("go on with: " + resume_command);
}

}  // namespace

bool train_stage(PreparedStage& stage, LoadedBase& base, const TrainerOptions& options) {
  StageTrainer trainer(stage, base, options);
  try {
    return trainer.run();
  } catch (const Stopped&) {
    // While loading for a resume, or while the finished adapter was written: all that counts is on the disk already. A
    // folder that is not held yet has the checkpoints of an older run.
    const auto step = trainer.holds_folder() ? stage.folder.newest_checkpoint() : std::nullopt;
    if (!step) throw;
    log_stopped(*step, stage.total_steps(), options.resume_command);
    return false;
  }
}

bool StageTrainer::run() {
  set_stop_note("nothing of this stage has been saved yet");
  if (!options_.folder_is_old) open_folder();
  acquire_base();
  options_.resume ? resume() : begin_new();
  if (!train()) return false;
  wait_saved();
  finish();
  return true;
}

// One optimizer step after the other, each durable before the next one's update.
bool StageTrainer::train() {
  // A stop may have come between a step and its evaluation, a kill between a checkpoint and its pin.
  if (!evaluate_if_due()) return stop_saved();
  wait_saved();
  if (step_ > 0 && pin_due()) (void)checkpoints_->pin(step_, PinFolder::kPinned);
  while (step_ < stage_.total_steps()) {
    if (stop_requested()) return stop_saved();
    if (!run_step(step_ + 1)) return stop_saved();
  }
  return true;
}

std::vector<PackedBatch> StageTrainer::batches_of(std::uint64_t step) const {
  const PlanStep& plan = stage_.plan.steps[step - 1];
  std::vector<PackedBatch> batches;
  for (std::size_t i = 0; i < plan.micro_batch_count; ++i)
    batches.push_back(make_batch(stage_.data.train, stage_.plan, plan.first_micro_batch + i));
  return batches;
}

StepSettings StageTrainer::step_settings() const {
  StepSettings settings;
  settings.seed = static_cast<std::uint64_t>(config().seed);
  settings.lora_dropout = config().lora_dropout;
  settings.max_grad_norm = config().max_grad_norm;
  settings.mean_of_means = config().compat == CompatMode::kAxolotl2024;
  settings.accumulation_steps = config().gradient_accumulation_steps;
  return settings;
}

float StageTrainer::decay_factor(std::uint64_t step) const {
  const float product = static_cast<float>(learning_rate(step)) * static_cast<float>(config().weight_decay);
  return 1.0f - product;
}

// One step; its ops are timed where the user asked for it, told, and kept in profile.json.
std::optional<StepResult> StageTrainer::train_or_profile(std::span<const PackedBatch> batches, std::uint64_t step) {
  const auto train = [&] {
    return train_step(*base_.model, adapter(), *optimizer_, batches, step, learning_rate(step), step_settings(),
                      &writer_);
  };
  if (step < options_.profile_first || step > options_.profile_last) return train();
  OpProfile profile(device_kind(), base_.model->ops().stream);
  base_.model->set_profile(&profile);
  const double begun = now_seconds();
  const auto result = train();
  base_.model->set_profile(nullptr);
  const std::vector<OpProfile::Line> lines = profile.lines();
  log_info("--- profile of step " + std::to_string(step) + ", " + format_duration(now_seconds() - begun) + " ---");
  log_info(profile_table(lines));
  stage_.folder.write("profile.json", profile_json(step, lines));
  return result;
}

// false: a stop was requested, nothing of this step remains.
bool StageTrainer::run_step(std::uint64_t step) {
  const double begun = now_seconds();
  const std::vector<PackedBatch> batches = batches_of(step);
  const auto result = train_or_profile(batches, step);
  if (!result) return false;
  if (!result->finite) not_finite(batches, *result, step);
  wait_saved();
  step_ = step;
  tokens_ += result->tokens;
  targets_ += result->targets;
  for (const PackedBatch& batch : batches)
    for (const std::uint32_t index : batch.samples) {
      const Sample& sample = stage_.data.train[index];
      tokens_of_file_[stage_.data.conversations[sample.conversation].file] +=
          static_cast<std::int64_t>(sample.ids.size());
    }
  const LoraFactor& largest = adapter().factors()[static_cast<std::size_t>(result->update_tensor)];
  guards_.check_step(step, result->loss, result->grad_norm, result->update_max, learning_rate(step),
                     largest.name + ", element " + std::to_string(result->update_element));
  if (!start_values_.empty() && guards_.moving_steps >= 2) check_alive();
  metrics_->add(step_line({stage_.stage.name, step, epoch(), static_cast<std::int64_t>(batches.size()), result->samples,
                           result->tokens, result->targets, result->loss, result->grad_norm, result->clip_factor,
                           learning_rate(step), result->update_max}));
  const double trained = now_seconds() - begun;
  const bool evaluated = evaluate_if_due();
  const double before_save = now_seconds();
  const bool requested = take_pin_request();
  const bool due = step % static_cast<std::uint64_t>(config().save_steps) == 0;
  if (due || requested || pin_due() || !evaluated || stop_requested()) save(requested);
  StepTiming timing{step,
                    trained,
                    result->forward_seconds,
                    result->backward_seconds,
                    result->optimizer_seconds,
                    now_seconds() - before_save,
                    static_cast<double>(result->tokens) / std::max(trained, 1e-9)};
  report(*result, timing);
  return evaluated;
}

// Last steps of the epochs and of the run, ascending.
std::vector<std::uint64_t> StageTrainer::epoch_ends() const {
  std::set<std::uint64_t> steps{stage_.total_steps()};
  for (std::size_t epoch = 0; epoch < stage_.plan.epochs.size(); ++epoch)
    if (const auto step = stage_.plan.last_step_of_epoch(epoch)) steps.insert(*step);
  return {steps.begin(), steps.end()};
}

bool StageTrainer::pin_due() const {
  const std::vector<std::uint64_t> ends = epoch_ends();
  return std::ranges::find(ends, step_) != ends.end() || guards_.best_step == step_;
}

PinReasons StageTrainer::pin_reasons() const {
  return {step_, epoch_ends(), static_cast<std::size_t>(config().save_total_limit), guards_.best_step,
          [this](std::uint64_t step) { return evaluation_due(stage_, step); }};
}

// true: nothing was due, or its lines are added. false: a stop was requested; the lines are made up for by the resume.
bool StageTrainer::evaluate_if_due() {
  if (!evaluation_due(stage_, step_) || guards_.evaluated_step == step_) return true;
  const auto lines = evaluate(*base_.model, stage_, step_, epoch());
  if (!lines) return false;
  double sum = 0;
  for (const EvalMetrics& line : *lines) {
    metrics_->add(eval_line(line));
    log_info("eval " + stage_.stage.name + " step " + std::to_string(step_) + " " + line.dataset + ": loss " +
             short_number(line.loss));
    sum += line.loss;
  }
  guards_.evaluated_step = step_;
  if (step_ > 0 && (!guards_.best_eval || sum < *guards_.best_eval)) {
    guards_.best_eval = sum;
    guards_.best_step = step_;
  }
  return true;
}

void StageTrainer::check_base() const {
  if (const auto changed = find_changed_tensor(base_.model->ops(), base_.model->weights(), base_.checksums))
    throw Error(Diagnostic("E0702", "memory of the frozen base changed: checksum of " + *changed + " differs")
                    .note("the last check passed at step " + std::to_string(durable_))
                    .help("test the memory of this machine, then: " + options_.resume_command));
}

// Metrics first, so that a durable checkpoint never names lines that are not on the disk. On a device the state is
// copied to the host and written while the next step runs; on the CPU the step waits, its threads would only compete.
// A checkpoint that loses its place in pinned/ goes when the newer one is durable there: a kill at any moment leaves
// all that the newest checkpoint names.
void StageTrainer::save(bool requested) {
  wait_saved();
  check_base();
  const OpContext& ops = base_.model->ops();
  adapter().download(ops);
  optimizer_->download(ops);
  wait_for_device(ops);
  metrics_->write(true);
  saving_ = step_;
  const bool pin = pin_due(), settle = std::exchange(pins_unsettled_, false) || pin;
  const auto write = [this, requested, pin, settle, reasons = pin_reasons(), step = step_, fields = manifest()] {
    checkpoints_->write(step, fields);
    set_stop_note("step " + std::to_string(step) + " is safe; go on with: " + options_.resume_command);
    log_detail("saved step " + std::to_string(step) + " (durable)");
    if (requested) (void)checkpoints_->pin(step, PinFolder::kRequested);
    const bool pinned = !pin || checkpoints_->pin(step, PinFolder::kPinned);
    if (settle && pinned) checkpoints_->drop_outdated_pins(reasons);
    checkpoints_->keep_newest(static_cast<std::size_t>(config().save_total_limit));
  };
  if (ops.device != Device::kCpu) return writer_.start(write);
  write();
  wait_saved();
}

void StageTrainer::wait_saved() {
  writer_.wait();
  durable_ = saving_;
}

// After a stop: the last completed step is saved if it is not yet. Always false.
bool StageTrainer::stop_saved() {
  if (saving_ != step_) save();
  wait_saved();
  log_stopped(step_, stage_.total_steps(), options_.resume_command);
  return false;
}

void StageTrainer::check_alive() {
  adapter().download(base_.model->ops());
  wait_for_device(base_.model->ops());
  std::vector<FactorState> factors;
  for (std::size_t i = 0; i < start_values_.size(); ++i) {
    const LoraFactor& factor = adapter().factors()[i];
    factors.push_back({factor.name, factor.is_b, start_values_[i], factor.values()});
  }
  std::vector<float> decay;
  for (std::uint64_t step = 1; step <= step_; ++step) decay.push_back(decay_factor(step));
  check_adapter_alive(factors, decay, options_.init_from.empty());
  start_values_.clear();
}

// Nothing was updated: the state is that of the step before, which is saved before the program ends.
void StageTrainer::not_finite(const std::vector<PackedBatch>& batches, const StepResult& result, std::uint64_t step) {
  const bool in_loss = result.first_bad_micro_batch >= 0;
  Diagnostic diagnostic(in_loss ? "E0601" : "E0605",
                        in_loss ? "loss is not finite at step " + std::to_string(step) + ", micro-batch " +
                                      std::to_string(result.first_bad_micro_batch)
                                : "gradient norm is not finite at step " + std::to_string(step));
  if (const auto found = find_non_finite(*base_.model, batches, step, step_settings())) {
    diagnostic.note("first tensor that is not finite: " + found->tensor.name);
    const PackedBatch& batch = batches[static_cast<std::size_t>(found->micro_batch)];
    if (found->tensor.token >= 0) {
      const auto after = std::upper_bound(batch.cu_seqlens.begin(), batch.cu_seqlens.end(), found->tensor.token);
      const auto index = static_cast<std::size_t>(after - batch.cu_seqlens.begin()) - 1;
      if (index < batch.samples.size()) {
        const std::string place = stage_.data.place_of(stage_.data.train[batch.samples[index]]);
        diagnostic.note("sample " + place).help("`skip_samples: [\"" + place + "\"]` leaves it out");
      }
    }
  }
  if (saving_ != step_) save();
  wait_saved();
  diagnostic.note("step " + std::to_string(step_) + " is safe")
      .help("lower `learning_rate`, then: " + options_.resume_command);
  throw Error(diagnostic);
}

// Own allocations are exactly the plan's; what is in use beyond them is libtorch's, the driver's, and other programs'.
void StageTrainer::log_device_peak() const {
  base_.memory->device.check_guards();
  base_.memory->pinned.check_guards();
  const MemoryPlan& plan = *stage_.memory;
  log_info("GPU memory: " + format_bytes(static_cast<double>(device_peak_bytes())) + " taken at most, " +
           format_bytes(static_cast<double>(plan.base_arena_bytes)) + " planned for it; " +
           format_bytes(static_cast<double>(device_bytes_in_use())) + " in use on the GPU, " +
           format_bytes(static_cast<double>(plan.total_bytes)) + " planned in all");
}

void StageTrainer::report(const StepResult& result, const StepTiming& timing) {
  StepTiming line = timing;
  const ProcessMemory memory = process_memory();
  line.memory_bytes = memory.now;
  line.memory_peak_bytes = memory.peak;
  timing_->add(timing_line(line));
  timing_->write(false);
  const double used = base_.memory ? static_cast<double>(device_bytes_in_use()) : static_cast<double>(memory.now);
  const double seconds = timing.seconds + timing.checkpoint_seconds;
  seconds_per_step_ = seconds_per_step_ == 0 ? seconds : 0.9 * seconds_per_step_ + 0.1 * seconds;
  const std::uint64_t total = stage_.total_steps();
  char text[256];
  std::snprintf(
      text, sizeof text, "%s step %llu/%llu  epoch %.2f  loss %.4f  grad %.4g  lr %.3g  %.0f tok/s  %s  left %s",
      stage_.stage.name.c_str(), static_cast<unsigned long long>(step_), static_cast<unsigned long long>(total),
      epoch(), result.loss, result.grad_norm, learning_rate(step_), timing.tokens_per_second,
      format_bytes(used).c_str(), format_duration(seconds_per_step_ * static_cast<double>(total - step_)).c_str());
  progress_.live(std::string(text) + (durable_ == step_ ? "  saved" : ""));
  if (step_ % static_cast<std::uint64_t>(config().logging_steps) == 0 || step_ == total) log_detail(text);
}

// adapter/, then the end line, then done.json: each is there only if all before it is.
void StageTrainer::finish() {
  const RunFolder& folder = stage_.folder;
  std::error_code ignored;
  // Left by a finish that did not reach done.json; it is made again from the same state.
  std::filesystem::remove_all(folder.adapter(), ignored);
  const auto files =
      write_adapter_folder(folder.path(), "adapter", adapter_settings(config(), identity_.name), adapter().arrays(),
                           {{"shori.base_fingerprint", identity_.fingerprint},
                            {"shori.tokenizer_sha256", stage_.data.tokenizer_sha256},
                            {"shori.config_hash", stage_.config_hash},
                            {"shori.parent", parent_.value_or("")},
                            {"shori.step", std::to_string(step_)}});
  stage_.adapter_sha256 = files.at("adapter_model.safetensors");
  metrics_->add(end_line({stage_.stage.name, step_, epoch(), tokens_, targets_, *stage_.adapter_sha256}));
  metrics_->write(true);
  checkpoints_->release_next();
  if (base_.memory) log_device_peak();
  folder.write("done.json", done_json(stage_, identity_, parent_, guards_.best_step, files));
  // After a stop inside the last evaluation only done.json knows its outcome, so that the old best one stays until now.
  checkpoints_->drop_outdated_pins(pin_reasons());
  stage_.state = StageState::kDone;
  stage_.step = step_;
  log_info("stage " + stage_.stage.name + " done: " + std::to_string(step_) + " steps, adapter sha256 " +
           stage_.adapter_sha256->substr(0, 8) + " in " + folder.adapter());
}

}  // namespace shori
