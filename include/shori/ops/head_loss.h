// Output head and cross-entropy in chunks of kLossChunk tokens: never more than one chunk of logits exists. The
// gradient is made in the forward pass. Source: transformers lm_head + torch cross_entropy in fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/ignored_label.h"

namespace shori {

inline constexpr std::int64_t kLossChunk = 2048;
// h [T, C], weight [V, C], activation dtype. targets [T]: the id to predict at position t, or kIgnoredLabel. losses
// [T] fp32 (memory of the context's device): -log softmax(logits)[target], exactly 0 where ignored. Logits are rounded
// to the activation dtype, then fp32. With `dh` [T, C]: dh = gradient_weight * d(sum of losses)/dh, exact zeros in
// ignored rows. The gradient of the logits is rounded to the activation dtype before the product, as autograd does. 2 *
// T * V * C FLOP, twice that with `dh`.
void head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight, const Int32Array& targets,
               double gradient_weight, std::span<float> losses, std::optional<TensorView> dh);

// Bytes that head_loss takes from the workspace on a device: one chunk of logits.
std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary);

}  // namespace shori
