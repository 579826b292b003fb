#include "shori/ops/device_workspace.h"

#include <algorithm>

#include "kernels/lora_down_launch.h"
#include "kernels/lora_grad_launch.h"
#include "kernels/nf4_matmul_launch.h"
#include "kernels/nf4_quantize_launch.h"
#include "shori/ops/head_loss.h"
#include "shori/quant/nf4_levels.h"

namespace shori {

namespace {

// As Workspace::take rounds on a device.
std::size_t taken(std::int64_t bytes) { return (static_cast<std::size_t>(bytes) + 255) / 256 * 256; }

}  // namespace

std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t extended_in) {
  return taken(out * extended_in * static_cast<std::int64_t>(sizeof(Bf16))) + kMatmulWorkspaceBytes;
}

std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary) {
  return taken(std::min(tokens, kLossChunk) * vocabulary * static_cast<std::int64_t>(sizeof(Bf16))) +
         kMatmulWorkspaceBytes;
}

std::size_t attention_backward_workspace_bytes(std::int64_t tokens, std::int64_t columns) {
  return 2 * taken(tokens * columns * static_cast<std::int64_t>(sizeof(Bf16)));
}

std::size_t nf4_quantize_workspace_bytes(std::int64_t blocks) {
  const std::int64_t groups = (blocks + kNf4AbsmaxBlockSize - 1) / kNf4AbsmaxBlockSize;
  return taken(groups * static_cast<std::int64_t>(sizeof(AbsmaxGroup)));
}

std::size_t nf4_matmul_workspace_bytes(std::int64_t tokens, std::int64_t out, std::int64_t in) {
  const int splits = nf4_matmul_splits(out, in);
  return splits == 1 ? 0 : taken(splits * tokens * out * static_cast<std::int64_t>(sizeof(float)));
}

std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t slots, std::int64_t rank) {
  return taken(kLoraDownParts * std::min(tokens, kLoraDownTokens) * slots * rank *
               static_cast<std::int64_t>(sizeof(float)));
}

std::size_t lora_grad_workspace_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t rank) {
  const std::int64_t slabs = std::min((tokens + kGradientSlab - 1) / kGradientSlab, kGradientSlabsOfPass);
  return taken(slabs * columns * rank * static_cast<std::int64_t>(sizeof(float)));
}

}  // namespace shori
