// One optimizer step, top to bottom. Read src/train/train_step.cpp first: it is the whole algorithm on one page.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "shori/model/find_non_finite.h"
#include "shori/model/mistral.h"
#include "shori/ops/packed_batch.h"
#include "shori/optim/adamw8bit.h"
#include "shori/train/checkpoint_writer.h"

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
  double update_max =
      0;  // largest change of a parameter before decay, and where: index into adapter.factors(), flat element
  std::int64_t update_tensor = 0, update_element = 0;
  std::int64_t tokens = 0, targets = 0, samples = 0;  // tokens without padding
  double forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0;
  // Not finite: nothing was updated. Index of the micro-batch whose loss is not finite, or -1 when only the gradient
  // norm is not.
  bool finite = true;
  int first_bad_micro_batch = -1;
};

// Runs the micro-batches of one step, clips, updates. `step` counts from 1 within the stage. Gradients of the adapter
// are zeroed first, so that nothing is carried from a step that was given up; a gradient that is to be carried across
// an epoch's end is a micro-batch of the later step. `adapter` is the one that `model` was made with. nullopt: a stop
// was requested and noticed between layers; nothing was updated. The update waits for `checkpoint`, the step before
// this one on its way to the disk; what that threw is thrown here, and nothing was updated.
std::optional<StepResult> train_step(Mistral& model, LoraAdapter& adapter, AdamW8bit& optimizer,
                                     std::span<const PackedBatch> micro_batches, std::uint64_t step,
                                     double learning_rate, const StepSettings& settings,
                                     CheckpointWriter* checkpoint = nullptr);

// After a step that was not finite: where NaN or Inf came up first, and in which micro-batch. Repeats passes; `token`
// is a row of that micro-batch.
struct NonFiniteReport {
  int micro_batch = 0;
  NonFiniteTensor tensor;
};
std::optional<NonFiniteReport> find_non_finite(Mistral& model, std::span<const PackedBatch> micro_batches,
                                               std::uint64_t step, const StepSettings& settings);

}  // namespace shori
