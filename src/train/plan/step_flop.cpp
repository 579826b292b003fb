#include "src/train/plan/step_flop.h"

#include <algorithm>
#include <utility>

#include "shori/util/linear.h"

namespace shori {
namespace {

// 10^12 operations a second, from the white papers and data sheets of the cards.
constexpr std::pair<std::string_view, double> kPeaks[] = {{"NVIDIA GeForce RTX 3080", 59.5},
                                                          {"NVIDIA GeForce RTX 3090", 71},
                                                          {"NVIDIA GeForce RTX 3090 Ti", 80},
                                                          {"NVIDIA GeForce RTX 4080", 97.5},
                                                          {"NVIDIA GeForce RTX 4090", 165.2},
                                                          {"NVIDIA GeForce RTX 5090", 209.5},
                                                          {"NVIDIA RTX A6000", 154.8},
                                                          {"NVIDIA RTX 6000 Ada Generation", 364.2},
                                                          {"NVIDIA A10", 125},
                                                          {"NVIDIA A40", 149.7},
                                                          {"NVIDIA A100-SXM4-40GB", 312},
                                                          {"NVIDIA A100-SXM4-80GB", 312},
                                                          {"NVIDIA A100-PCIE-40GB", 312},
                                                          {"NVIDIA A100 80GB PCIe", 312},
                                                          {"NVIDIA L4", 121},
                                                          {"NVIDIA L40S", 362},
                                                          {"NVIDIA H100 PCIe", 756},
                                                          {"NVIDIA H100 80GB HBM3", 989.4},
                                                          {"NVIDIA H200", 989.4}};

// Of a token.
double product_flop(const MistralConfig& model, Linear linear) {
  const LinearShape shape = shape_of(model, linear);
  return 2.0 * static_cast<double>(shape.in) * static_cast<double>(shape.out);
}

double factor_flop(const MistralConfig& model, const LoraSettings& lora, Linear linear) {
  const LinearShape shape = shape_of(model, linear);
  return lora.has(linear) ? 2.0 * static_cast<double>(lora.rank) * static_cast<double>(shape.in + shape.out) : 0;
}

// Of a token in the backward pass of a layer.
double recomputed_flop(const MistralConfig& model, Recompute recompute) {
  if (recompute == Recompute::kNone) return 0;
  double flop = 0;
  for (const Linear linear : kLinears) {
    const bool is_kept = linear == Linear::kDown || (linear == Linear::kO && recompute == Recompute::kMlp);
    if (!is_kept) flop += product_flop(model, linear);
  }
  return flop;
}

// Pairs of a query and a key that it sees.
double pairs_of(double length, double window) {
  const double full = length * length / 2;
  return window == 0 || length <= window ? full : window * length - window * window / 2;
}

}  // namespace

double step_flop(const MistralConfig& model, const LoraSettings& lora, const CheckpointingPolicy& policy,
                 const PackPlan& plan, const PlanStep& step) {
  double pairs = 0;
  for (std::size_t i = step.first_micro_batch; i < step.first_micro_batch + step.micro_batch_count; ++i) {
    const MicroBatch& batch = plan.micro_batches[i];
    for (std::size_t row = batch.first_row; row < batch.first_row + batch.row_count; ++row)
      for (const std::uint32_t sample : plan.row(row))
        pairs += pairs_of(plan.samples[sample].length, static_cast<double>(model.sliding_window));
  }
  const auto layers = static_cast<double>(model.layers), hidden = static_cast<double>(model.hidden_size);
  double of_token = 2 * 2 * static_cast<double>(model.vocab_size) * hidden;  // the head, forward and backward
  for (const Linear linear : kLinears)
    of_token += layers * (2 * product_flop(model, linear) + 3 * factor_flop(model, lora, linear));
  double forwards = layers;
  for (const Recompute recompute : policy.layers) {
    of_token += recomputed_flop(model, recompute);
    forwards += recompute == Recompute::kAll ? 1 : 0;
  }
  const double attention = 4 * pairs * static_cast<double>(model.q_size());  // forward; backward has 2.5 times as much
  return static_cast<double>(step.tokens) * of_token + (forwards + 2.5 * layers) * attention;
}

std::optional<double> peak_flops(std::string_view card) {
  const auto found = std::ranges::find(kPeaks, card, &std::pair<std::string_view, double>::first);
  return found == std::end(kPeaks) ? std::nullopt : std::optional(found->second * 1e12);
}

}  // namespace shori
