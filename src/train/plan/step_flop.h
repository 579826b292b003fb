// How close a step comes to what a card can do: the arithmetic of its products and attention over the peak of the card. It is
// what tests/gpu/performance_model.py counts, without padding.
#pragma once

#include <optional>
#include <string_view>

#include "shori/data/pack_plan.h"
#include "shori/io/mistral_config.h"
#include "shori/model/checkpointing_policy.h"
#include "shori/model/lora_adapter.h"

namespace shori {

// Floating-point operations of the products and the attention of `step`, one of `plan`: forward and backward pass, and what
// the policy recomputes. A product of [m, k] and [k, n] has 2 m k n.
double step_flop(const MistralConfig& model, const LoraSettings& lora, const CheckpointingPolicy& policy,
                 const PackPlan& plan, const PlanStep& step);

// Operations a second of dense bf16 products that are summed in fp32, as NVIDIA publishes them for the card of this name;
// nullopt for a card that is not in the list.
std::optional<double> peak_flops(std::string_view card);

}  // namespace shori
