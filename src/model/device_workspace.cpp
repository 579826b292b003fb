#include "src/model/device_workspace.h"

#include <algorithm>

#include "shori/ops/head_loss.h"

namespace shori {

std::size_t device_workspace_bytes(const DecoderLayer& layer, const MistralConfig& config, std::int64_t tokens,
                                   bool backward) {
  constexpr std::size_t kSmall = std::size_t{4} << 20;
  std::int64_t scratch = 0;
  for (const LinearGroup* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    scratch = std::max(scratch, group->out() * (group->in() + group->extension_columns()) * 2);
  }
  const std::int64_t logits = std::min(tokens, kLossChunk) * config.vocab_size * 4;
  const std::int64_t gradient = backward ? tokens * layer.o.in() * 2 : 0;
  return static_cast<std::size_t>(std::max({scratch, logits, gradient})) + kSmall;
}

}  // namespace shori
