// One optimizer step in two parts: the gradients, then the update. Read src/train/step/train_step.cpp first: it is the
// whole algorithm on one page.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "shori/model/find_non_finite.h"
#include "shori/model/mistral.h"
#include "shori/ops/packed_batch.h"
#include "shori/optim/adamw8bit.h"

namespace shori {

struct StepSettings {
  std::uint64_t seed = 42;  // of the dropout masks
  double lora_dropout = 0;
  double max_grad_norm = 1.0;  // 0: no clipping
  // false: loss = sum of token losses of the step / its targets. true (compat: axolotl-2024): sum of the micro-batches'
  // mean losses / accumulation_steps, also where a step has fewer micro-batches.
  bool mean_of_means = false;
  std::int64_t accumulation_steps = 1;
};

struct StepResult {
  double loss = 0;       // as optimized: see mean_of_means
  double grad_norm = 0;  // before clipping
  double clip_factor = 1;
  // Largest change of a parameter before decay, and where: index into adapter.factors(), flat element.
  double update_max = 0;
  std::int64_t update_tensor = 0, update_element = 0;
  std::int64_t tokens = 0, targets = 0, samples = 0;  // tokens without padding
  double forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0;
  // False if the loss of a micro-batch, whose index is given, or only the gradient norm (index -1) is NaN or Inf. Such
  // gradients must not be applied.
  bool finite = true;
  int first_bad_micro_batch = -1;
};

// Called between layers with the share of the passes that is done, 0 to 1. On a device that is what was queued.
using PassProgress = std::function<void(double done)>;

// Forward and backward pass of every micro-batch of step `step`, which counts from 1 within the stage. Fills everything
// of the result but the update. The gradients of `adapter`, which is the one that `model` was made with, are zeroed
// first. nullopt: a stop was requested and noticed between layers. Parameters and moments do not change.
std::optional<StepResult> compute_gradients(Mistral& model, LoraAdapter& adapter,
                                            std::span<const PackedBatch> micro_batches, std::uint64_t step,
                                            const StepSettings& settings, const PassProgress& progress = {});

// The optimizer's update with the gradients that compute_gradients() left in the adapter, clipped as `result` says.
// Fills the update of `result`, which must be finite.
void apply_gradients(const Mistral& model, AdamW8bit& optimizer, double learning_rate, StepResult& result);

// After a step that was not finite: the first tensor with NaN or Inf, and its micro-batch. Repeats the passes; `token`
// is a row of that micro-batch. nullopt: this time everything was finite.
struct NonFiniteReport {
  int micro_batch = 0;
  NonFiniteTensor tensor;
};
std::optional<NonFiniteReport> find_non_finite(Mistral& model, std::span<const PackedBatch> micro_batches,
                                               std::uint64_t step, const StepSettings& settings);

}  // namespace shori
