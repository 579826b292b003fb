// The state of one stage while it trains. train_stage() makes one, runs it, and throws it away.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shori/model/lora_adapter.h"
#include "shori/optim/adamw8bit.h"
#include "shori/optim/lr_schedule.h"
#include "shori/train/adapter_file.h"
#include "shori/train/checkpoint.h"
#include "shori/train/checkpoint_writer.h"
#include "shori/train/run_identity.h"
#include "shori/util/progress.h"
#include "src/train/files/metrics.h"
#include "src/train/stage/trainer.h"
#include "src/train/step/guards.h"
#include "src/train/step/train_step.h"

namespace shori {

// What adapter_config.json says of an adapter trained with `config`.
AdapterSettings adapter_settings(const TrainConfig& config, const std::string& base_name);

class StageTrainer {
 public:
  StageTrainer(PreparedStage& stage, LoadedBase& base, const TrainerOptions& options);
  bool run();
  bool holds_folder() const { return lock_.has_value(); }

 private:
  // Beginning (src/train/stage_start.cpp).
  void open_folder();
  void make_room();
  void acquire_base();
  void load_base();
  void restore_matmul_choices();
  void check_with_trial_pass();
  void run_trial_pass();
  void check_build() const;
  void fill_start(LoraAdapter& adapter, const OpContext& ops);
  void carry_optimizer(const AdapterSource& source);
  void begin_new();
  void resume();
  void restore(const JsonValue& manifest);
  void remember_start();
  std::vector<NamedArray> state_arrays();
  std::size_t manifest_bytes() const;
  Json manifest() const;

  // The loop (src/train/trainer.cpp).
  bool train();
  bool run_step(std::uint64_t step);
  std::optional<StepResult> train_or_profile(std::span<const PackedBatch> batches, std::uint64_t step);
  bool evaluate_if_due();
  std::vector<std::uint64_t> epoch_ends() const;
  bool pin_due() const;
  PinReasons pin_reasons() const;
  void check_base() const;
  void save(bool requested = false);
  void wait_saved();
  bool stop_saved();
  void check_alive();
  [[noreturn]] void not_finite(const std::vector<PackedBatch>& batches, const StepResult& result, std::uint64_t step);
  void report(const StepResult& result, const StepTiming& timing);
  void log_device_peak() const;
  void finish();

  LoraAdapter& adapter() { return *base_.adapter; }
  Device device_kind() const { return base_.model->ops().device; }
  const TrainConfig& config() const { return stage_.stage.config; }
  double epoch() const { return stage_.plan.epoch_after(step_); }
  double learning_rate(std::uint64_t step) const {
    return learning_rate_at(schedule_, static_cast<std::int64_t>(step));
  }
  float decay_factor(std::uint64_t step) const;
  std::vector<PackedBatch> batches_of(std::uint64_t step) const;
  StepSettings step_settings() const;

  PreparedStage& stage_;
  LoadedBase& base_;
  const TrainerOptions& options_;
  std::optional<RunLock> lock_;
  BaseIdentity identity_;
  std::optional<std::string> parent_;
  std::unique_ptr<AdamW8bit> optimizer_;
  std::unique_ptr<CheckpointStore> checkpoints_;
  std::unique_ptr<LineLog> metrics_, timing_;
  Guards guards_;
  LrSchedule schedule_;
  std::vector<std::vector<float>> start_values_;  // of each factor, until the dead-adapter check has passed
  std::vector<std::int64_t> tokens_of_file_;      // trained so far
  std::int64_t tokens_ = 0, targets_ = 0;         // trained so far
  std::uint64_t step_ = 0;                        // last completed
  std::uint64_t durable_ = 0;                     // last known to be saved
  std::uint64_t saving_ = 0;                      // last whose saving has begun
  bool pins_unsettled_ = false;                   // pinned/ may hold more than it should: the next save looks
  Progress progress_;
  double seconds_per_step_ = 0;  // running average, for the time left
  CheckpointWriter writer_;      // last: a write that runs ends before what it reads
};

}  // namespace shori
