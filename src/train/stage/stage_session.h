// A stage in training: the model, its adapter and optimizer, and how far they have come. Knows nothing of files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shori/optim/adamw8bit.h"
#include "shori/optim/lr_schedule.h"
#include "src/train/stage/loaded_base.h"
#include "src/train/stage/manifest.h"
#include "src/train/stage/start_adapter.h"
#include "src/train/step/evaluation.h"
#include "src/train/step/samples.h"
#include "src/train/step/train_step.h"

namespace shori {

class StageSession {
 public:
  // Both outlive the session. The adapter has no values yet; the optimizer is fresh.
  StageSession(const PreparedStage& stage, LoadedBase& base);

  const PreparedStage& stage() const { return stage_; }
  const TrainingState& state() const { return state_; }
  Mistral& model() { return *base_.model; }
  LoraAdapter& adapter() { return *base_.adapter; }
  AdamW8bit& optimizer() { return optimizer_; }
  const OpContext& ops() const { return base_.model->ops(); }
  BaseIdentity base_identity() const;
  const CheckpointingPolicy& checkpointing() const { return base_.model->checkpointing(); }
  double epoch() const { return stage_.plan.epoch_after(state_.step); }
  double learning_rate(std::uint64_t step) const;
  bool is_done() const { return state_.step == stage_.total_steps(); }
  // Steps that this process has trained, and whether one of them changed a weight.
  std::uint64_t steps_trained() const { return steps_trained_; }
  bool has_moved() const { return has_moved_; }

  // What a checkpoint holds, in host memory: the adapter, then the optimizer's moments. On a device download() fills it
  // from the parameters in use, and restore() copies it to them.
  std::vector<NamedArray> arrays();
  void download();

  // Gives adapter and optimizer their values before step 1, see start_adapter.h. Returns the SHA-256 of the adapter file
  // that `init_from` names, if any.
  std::optional<std::string> start(const std::string& init_from);
  // Continues from `state`, whose arrays have been loaded into arrays(), in a run that start(init_from) began.
  void restore(TrainingState state, const std::string& init_from);

  // One step in three parts. The gradients leave parameters and arrays() as they are; nullopt: a stop was requested.
  std::vector<PackedBatch> next_batches() const;
  std::optional<StepResult> compute_gradients(std::span<const PackedBatch> batches, const PassProgress& progress = {});
  // The update, after which the step is complete. W0601, W0602, E0602 and E0604 of the guards; E0603 if after the second
  // step that moved the adapter a factor is what it was at the start.
  void apply_gradients(std::span<const PackedBatch> batches, StepResult& result);

  // Results of the evaluation that is due after the current step, unless it was made already; empty if none is due.
  // nullopt: a stop was requested.
  std::optional<std::vector<EvalMetrics>> evaluate_if_due();

  // Samples that are due after the current step, as for evaluate_if_due().
  std::optional<std::vector<SampleMetrics>> sample_if_due();

  // Where the numbers of a step that is not finite went wrong, as E0601 or E0605. Repeats its passes.
  Diagnostic describe_non_finite(std::span<const PackedBatch> batches, const StepResult& result);
  // Name of a frozen weight whose bytes changed in memory since it was loaded; nullopt if all are intact.
  std::optional<std::string> find_changed_weight() const;

 private:
  StepSettings step_settings() const;
  void count_tokens(std::span<const PackedBatch> batches, const StepResult& result);
  FactorValues values_before_step_1(const std::string& init_from);
  void check_factors_moved();

  const PreparedStage& stage_;
  LoadedBase& base_;
  AdamW8bit optimizer_;
  std::optional<CachedModel> sampler_;  // in the order of plan_memory()
  LrSchedule schedule_;
  TrainingState state_;
  FactorValues start_values_;  // empty once the check has passed
  bool fresh_start_ = false, has_moved_ = false;
  std::uint64_t steps_trained_ = 0;
};

}  // namespace shori
