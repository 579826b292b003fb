#include "src/train/stage/stage_session.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include "shori/ops/matmul_choices.h"
#include "shori/util/text.h"
#include "src/train/plan/make_batch.h"
#include "src/train/plan/sample_prompts.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

// The first update of a fresh adapter moves only B: A has no gradient while B is zero.
constexpr std::uint64_t kMovingStepsOfCheck = 2;

std::string hex_text(std::uint64_t number) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number));
  return digits;
}

bool has_nf4_products() {
  const std::vector<MatmulChoice> choices = matmul_choices();
  return frozen_products() != FrozenProducts::kCublasLt &&
         std::ranges::any_of(choices, [](const MatmulChoice& c) { return c.algorithm == kNf4Algorithm; });
}

}  // namespace

StageSession::StageSession(const PreparedStage& stage, LoadedBase& base)
    : stage_(stage),
      base_(base),
      optimizer_(*base.adapter, adam_options(stage.config), base.memory.get()),
      schedule_(lr_schedule(stage.config, stage.total_steps())),
      state_(initial_state(stage)) {
  if (const std::int64_t context = sample_context(stage); context > 0) sampler_.emplace(model(), context);
  wait_for_device(ops());
}

BaseIdentity StageSession::base_identity() const {
  return {base_model_name(*stage_.base), base_.fingerprint, hex_text(base_.checksums.combined())};
}

double StageSession::learning_rate(std::uint64_t step) const {
  return learning_rate_at(schedule_, static_cast<std::int64_t>(step));
}

std::vector<NamedArray> StageSession::arrays() {
  std::vector<NamedArray> arrays = adapter().arrays();
  std::ranges::move(optimizer_.arrays(), std::back_inserter(arrays));
  return arrays;
}

void StageSession::download() {
  adapter().download(ops());
  optimizer_.download(ops());
  wait_for_device(ops());
}

std::optional<std::string> StageSession::start(const std::string& init_from) {
  auto parent = fill_adapter(stage_.config, init_from, base_identity(), stage_.data.tokenizer_sha256, adapter(), ops());
  if (stage_.config.optimizer_state == OptimizerStart::kCarry) carry_optimizer(init_from, optimizer_, ops());
  state_.adam_step = optimizer_.step_count();
  start_values_ = copy_values(adapter());
  fresh_start_ = init_from.empty();
  return parent;
}

void StageSession::restore(TrainingState state, const std::string& init_from) {
  state_ = std::move(state);
  optimizer_.set_step_count(state_.adam_step);
  adapter().upload(ops());
  optimizer_.upload(ops());
  fresh_start_ = init_from.empty();
  if (state_.guards.moving_steps < kMovingStepsOfCheck) start_values_ = values_before_step_1(init_from);
}

// Of step 0 the adapter itself has them; later they are made again on the host.
FactorValues StageSession::values_before_step_1(const std::string& init_from) {
  if (state_.step == 0) return copy_values(adapter());
  Workspace workspace;
  LoraAdapter start(model().config(), adapter().settings(), adapter().activation());
  fill_adapter(stage_.config, init_from, base_identity(), stage_.data.tokenizer_sha256, start,
               {.workspace = &workspace});
  return copy_values(start);
}

std::vector<PackedBatch> StageSession::next_batches() const {
  const PlanStep& step = stage_.plan.steps[state_.step];
  std::vector<PackedBatch> batches;
  for (std::size_t i = 0; i < step.micro_batch_count; ++i)
    batches.push_back(make_batch(stage_.data.train, stage_.plan, step.first_micro_batch + i));
  return batches;
}

StepSettings StageSession::step_settings() const {
  const TrainConfig& config = stage_.config;
  return {.seed = static_cast<std::uint64_t>(config.seed),
          .lora_dropout = config.lora_dropout,
          .max_grad_norm = config.max_grad_norm,
          .mean_of_means = config.compat == CompatMode::kAxolotl2024,
          .accumulation_steps = config.gradient_accumulation_steps};
}

std::optional<StepResult> StageSession::compute_gradients(std::span<const PackedBatch> batches,
                                                          const PassProgress& progress) {
  return shori::compute_gradients(model(), adapter(), batches, state_.step + 1, step_settings(), progress);
}

void StageSession::apply_gradients(std::span<const PackedBatch> batches, StepResult& result) {
  const double rate = learning_rate(state_.step + 1);
  shori::apply_gradients(model(), optimizer_, rate, result);
  ++state_.step;
  ++steps_trained_;
  has_moved_ = has_moved_ || result.update_max > 0;
  state_.adam_step = optimizer_.step_count();
  count_tokens(batches, result);
  const LoraFactor& largest = adapter().factors()[static_cast<std::size_t>(result.update_tensor)];
  state_.guards.check_step(state_.step, result.loss, result.grad_norm, result.update_max, rate,
                           concat(largest.name, ", element ", result.update_element));
  if (!start_values_.empty() && state_.guards.moving_steps >= kMovingStepsOfCheck) check_factors_moved();
}

void StageSession::count_tokens(std::span<const PackedBatch> batches, const StepResult& result) {
  state_.tokens += result.tokens;
  state_.targets += result.targets;
  for (const PackedBatch& batch : batches) {
    for (const std::uint32_t index : batch.samples) {
      const Sample& sample = stage_.data.train[index];
      const std::size_t file = stage_.data.conversations[sample.conversation].file;
      state_.tokens_of_file[file] += std::ssize(sample.ids);
    }
  }
}

void StageSession::check_factors_moved() {
  adapter().download(ops());
  wait_for_device(ops());
  std::vector<FactorState> factors;
  for (std::size_t i = 0; i < start_values_.size(); ++i) {
    const LoraFactor& factor = adapter().factors()[i];
    factors.push_back({factor.name, factor.is_b, start_values_[i], factor.values()});
  }
  std::vector<float> decay;
  for (std::uint64_t step = 1; step <= state_.step; ++step)
    decay.push_back(
        adam_decay_factor(static_cast<float>(learning_rate(step)), static_cast<float>(stage_.config.weight_decay)));
  check_adapter_alive(factors, decay, fresh_start_);
  start_values_.clear();
}

std::optional<std::vector<SampleMetrics>> StageSession::sample_if_due() {
  Guards& guards = state_.guards;
  if (!samples_due(stage_, state_.step) || guards.sampled_step == state_.step) return std::vector<SampleMetrics>();
  auto samples = write_samples(*sampler_, stage_, state_.step);
  if (samples) guards.sampled_step = state_.step;
  return samples;
}

std::optional<std::vector<EvalMetrics>> StageSession::evaluate_if_due() {
  Guards& guards = state_.guards;
  if (!evaluation_due(stage_, state_.step) || guards.evaluated_step == state_.step) return std::vector<EvalMetrics>();
  auto results = evaluate(model(), stage_, state_.step, epoch());
  if (!results) return std::nullopt;
  double sum = 0;
  for (const EvalMetrics& result : *results) sum += result.loss;
  guards.evaluated_step = state_.step;
  if (state_.step > 0 && (!guards.best_eval || sum < *guards.best_eval)) {
    guards.best_eval = sum;
    guards.best_step = state_.step;
  }
  return results;
}

Diagnostic StageSession::describe_non_finite(std::span<const PackedBatch> batches, const StepResult& result) {
  const std::uint64_t step = state_.step + 1;
  Diagnostic diagnostic = result.first_bad_micro_batch >= 0
                              ? Diagnostic("E0601", concat("loss is not finite at step ", step, ", micro-batch ",
                                                           result.first_bad_micro_batch))
                              : Diagnostic("E0605", concat("gradient norm is not finite at step ", step));
  const auto found = find_non_finite(model(), batches, step, step_settings());
  if (!found) return diagnostic;
  diagnostic.note(concat("first tensor that is not finite: ", found->tensor.name));
  if (found->tensor.is_product && has_nf4_products()) {
    diagnostic
        .note("`matmul` chose the NF4 kernel, whose sums of 64 products end at 65504 times the scale of their row")
        .help("`matmul: cublaslt` sums in fp32 without that limit; a changed `matmul` begins a new stage");
  }
  if (found->tensor.token < 0) return diagnostic;
  const PackedBatch& batch = batches[static_cast<std::size_t>(found->micro_batch)];
  const auto segment_end = std::ranges::upper_bound(batch.cu_seqlens, found->tensor.token);
  const auto segment = static_cast<std::size_t>(segment_end - batch.cu_seqlens.begin()) - 1;
  if (segment >= batch.samples.size()) return diagnostic;
  const std::string sample = stage_.data.location_of(stage_.data.train[batch.samples[segment]]);
  return diagnostic.note(concat("sample ", sample)).help(concat("`skip_samples: [\"", sample, "\"]` leaves it out"));
}

std::optional<std::string> StageSession::find_changed_weight() const {
  return find_changed_tensor(ops(), base_.model->weights(), base_.checksums);
}

}  // namespace shori
