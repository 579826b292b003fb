// The training algorithm. One optimizer step:
//
//   N = targets of all micro-batches            known before the first forward pass
//   for each micro-batch:                       embed, layers up, head and loss, layers down; gradients add up in fp32
//   clip the gradient by its global norm        one norm over all factors
//   AdamW                                       and the rounded copies that the next step's products use
//
// Loss = sum of token losses / N, so each target token of the step counts the same, whatever micro-batch it is in. The
// historical rule (mean_of_means) takes each micro-batch's own mean, so tokens of a short micro-batch count more.
//
// The update is a function of its own, so that a caller who still writes the parameters to the disk can finish that
// while the gradients are computed, and only the update has to wait.
#include "src/train/step/train_step.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "shori/ops/grad_norm.h"
#include "shori/util/error.h"
#include "shori/util/signals.h"
#include "src/train/step/step_clock.h"

namespace shori {

namespace {

// Added to the norm before dividing, as torch.nn.utils.clip_grad_norm_ does.
constexpr double kClipEpsilon = 1e-6;

// What a token's loss in `batch` counts in the step's loss. A micro-batch or step without targets counts nothing.
double token_weight(const PackedBatch& batch, std::int64_t step_targets, const StepSettings& settings) {
  const std::int64_t targets = settings.mean_of_means ? batch.targets * settings.accumulation_steps : step_targets;
  return targets > 0 ? 1.0 / static_cast<double>(targets) : 0.0;
}

DropoutKey dropout_key(const StepSettings& settings, std::uint64_t step, std::size_t micro_batch) {
  return {.seed = settings.seed,
          .step = static_cast<std::uint32_t>(step),
          .micro_batch = static_cast<std::uint32_t>(micro_batch),
          .probability = static_cast<float>(settings.lora_dropout)};
}

std::int64_t count_targets(std::span<const PackedBatch> micro_batches) {
  std::int64_t targets = 0;
  for (const PackedBatch& batch : micro_batches) targets += batch.targets;
  return targets;
}

double gradient_norm_of(const Mistral& model, const LoraAdapter& adapter) {
  std::vector<GradientSpan> spans;
  for (const LoraFactor& factor : adapter.factors()) spans.push_back({factor.gradient.data<float>(), factor.count()});
  return gradient_norm(model.ops(), spans);
}

}  // namespace

std::optional<StepResult> compute_gradients(Mistral& model, LoraAdapter& adapter,
                                            std::span<const PackedBatch> micro_batches, std::uint64_t step,
                                            const StepSettings& settings, const PassProgress& progress) {
  SHORI_CHECK(model.adapter() == &adapter, "the model was made with another adapter");
  StepResult result;
  result.targets = count_targets(micro_batches);
  adapter.zero_gradients(model.ops());
  StepClock clock(model.ops());
  // A layer's backward pass takes about as long as two forward passes, three where it recomputes.
  const double parts = 3.0 * static_cast<double>(micro_batches.size()) * static_cast<double>(model.layer_count());
  double done = 0;
  const auto move = [&](double count) {
    done += count;
    if (progress) progress(done / parts);
  };

  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const PackedBatch& batch = micro_batches[i];
    const double weight = token_weight(batch, result.targets, settings);
    model.begin(batch, dropout_key(settings, step, i));
    for (std::int64_t layer = 0; layer < model.layer_count(); ++layer) {
      if (stop_requested()) return std::nullopt;
      model.forward_layer(layer);
      move(1);
    }
    const std::span<const float> losses = model.head_loss(weight);
    // Ascending order in fp64, so that the sum depends on nothing but the losses.
    const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
    result.loss += loss * weight;
    result.tokens += batch.real_tokens;
    result.samples += static_cast<std::int64_t>(batch.samples.size());
    clock.lap(result.forward_seconds);
    if (!std::isfinite(loss)) {
      result.finite = false;
      result.first_bad_micro_batch = static_cast<int>(i);
      return result;
    }
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) {
      if (stop_requested()) return std::nullopt;
      model.backward_layer(layer);
      move(2);
    }
    clock.lap(result.backward_seconds);
  }

  result.grad_norm = gradient_norm_of(model, adapter);
  result.finite = std::isfinite(result.grad_norm);
  if (result.finite && settings.max_grad_norm > 0)
    result.clip_factor = std::min(1.0, settings.max_grad_norm / (result.grad_norm + kClipEpsilon));
  clock.lap(result.optimizer_seconds);
  clock.finish();
  return result;
}

void apply_gradients(const Mistral& model, AdamW8bit& optimizer, double learning_rate, StepResult& result) {
  SHORI_CHECK(result.finite, "gradients that are not finite must not be applied");
  StepClock clock(model.ops());
  const AdamReport report = optimizer.step(model.ops(), learning_rate, result.clip_factor);
  result.update_max = report.update_max;
  result.update_tensor = report.tensor;
  result.update_element = report.element;
  clock.lap(result.optimizer_seconds);
  clock.finish();
}

std::optional<NonFiniteReport> find_non_finite(Mistral& model, std::span<const PackedBatch> micro_batches,
                                               std::uint64_t step, const StepSettings& settings) {
  const std::int64_t targets = count_targets(micro_batches);
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const double weight = token_weight(micro_batches[i], targets, settings);
    if (const auto found = find_non_finite(model, micro_batches[i], dropout_key(settings, step, i), weight)) {
      return NonFiniteReport{static_cast<int>(i), *found};
    }
  }
  return std::nullopt;
}

}  // namespace shori
