#include "src/model/device_workspace.h"

#include <algorithm>

#include "shori/ops/device_workspace.h"

namespace shori {

std::size_t device_workspace_bytes(const DecoderLayer& layer, const MistralConfig& config, std::int64_t tokens,
                                   bool backward) {
  constexpr std::size_t kSmall = std::size_t{4} << 20;
  std::size_t most = head_loss_workspace_bytes(tokens, config.vocab_size);
  for (const LinearGroup* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    most = std::max(most, nf4_linear_workspace_bytes(group->out(), group->in() + group->extension_columns()));
  }
  if (backward) most = std::max(most, attention_backward_workspace_bytes(tokens, layer.o.in()));
  return most + kSmall;
}

}  // namespace shori
