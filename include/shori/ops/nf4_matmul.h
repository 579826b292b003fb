// One frozen linear for a few tokens at once, as sampling needs it. Training and evaluation never call it: there,
// nf4_linear has one set of bits for every number of tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

inline constexpr std::int64_t kMaxFusedTokens = 128;

// y [M, out] = x [M, in] W^T without adapter, W in NF4, M <= kMaxFusedTokens. On a device the weights are decoded
// inside the product and never written: 0.516 bytes a weight are read; in is a multiple of 64, out of 8. fp32 sums in
// an order that depends on (out, in) alone, one rounding. 2 * M * out * in FLOP. Workspace on a device:
// nf4_matmul_workspace_bytes().
void nf4_matmul(const OpContext& context, const FrozenWeight& weight, ConstTensorView x, TensorView y);

// Bytes that nf4_matmul takes from the workspace on a device: partial sums of the parts into which columns are cut.
std::size_t nf4_matmul_workspace_bytes(std::int64_t tokens, std::int64_t out, std::int64_t in);

}  // namespace shori
