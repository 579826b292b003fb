// Output head and cross-entropy, in chunks of tokens: no more than one chunk of logits ever exists. The gradient is
// computed in the forward pass, while the logits are there.
//
//   logits = h weight^T
//   losses[t] = -log softmax(logits[t])[targets[t]]
//   dh = gradient_weight * d(sum of losses)/dh
//
// Rounding: logits are rounded to the activation dtype and then read as fp32. The gradient of the logits is rounded to
//   the activation dtype before its product, as autograd does; dh is rounded once.
// Order of the sums: fixed. The CPU adds slabs of the vocabulary in ascending order. With the tile products of AMX, sums of
//   e^x run by slabs as well, with a running maximum.
// Deterministic: the result does not depend on the number of threads. The CPU and a device differ by roundings.
// Workspace on a device: head_loss_workspace_bytes().
// Cost: 2 * T * V * C FLOP, twice that with dh.
// Source: transformers lm_head and torch cross_entropy in fp32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"
#include "shori/util/ignored_label.h"

namespace shori {

inline constexpr std::int64_t kLossChunk = 2048;  // tokens whose logits exist at the same time

// h [T, C], weight [V, C] and dh [T, C], activation dtype. targets [T]: the id to predict at position t, or
// kIgnoredLabel. losses [T] fp32, in memory of the context's device. An ignored token has loss 0 and a row of exact
// zeros in dh.
void head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight, const Int32Array& targets,
               double gradient_weight, std::span<float> losses, std::optional<TensorView> dh);

// One chunk of logits and the workspace of the products.
std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary);

}  // namespace shori
