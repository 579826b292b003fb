#include "src/model/pass/workspace_bytes.h"

#include <algorithm>

#include "shori/ops/attention.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"

namespace shori {

namespace {

// For lora_grad_a and lora_grad_b.
std::size_t gradient_bytes(const LinearGroup& group, std::int64_t tokens) {
  std::int64_t out = 0;
  for (const LinearModule& module : group.modules) out += module.has_lora() ? module.weight.rows : 0;
  return lora_grad_workspace_bytes(tokens, std::max(group.lora_count() * group.in(), out), group.rank);
}

}  // namespace

std::size_t device_workspace_bytes(const DecoderLayer& layer, const MistralConfig& config, std::int64_t tokens,
                                   bool backward, bool decode_once) {
  constexpr std::size_t kSmall = std::size_t{4} << 20;
  std::size_t largest = head_loss_workspace_bytes(tokens, config.vocab_size);
  for (const LinearGroup* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    largest = std::max(
        largest, decode_once ? kMatmulWorkspaceBytes : nf4_linear_workspace_bytes(group->out(), group->fused_in()));
    largest = std::max(largest, lora_down_workspace_bytes(tokens, group->lora_count(), group->rank));
    if (backward) largest = std::max(largest, gradient_bytes(*group, tokens));
  }
  if (backward) largest = std::max(largest, attention_backward_workspace_bytes(tokens, layer.o.in()));
  return largest + kSmall;
}

}  // namespace shori
