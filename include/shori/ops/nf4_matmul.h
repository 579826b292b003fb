// One frozen linear without LoRA, for few tokens: the product of decoding. Training and evaluation never call it, because
// nf4_linear has one set of bits for every number of tokens.
//
//   y = x W^T
//
// Rounding: weights as in nf4_linear, fp32 sums, one rounding.
// Order of the sums: depends on (out, in) alone, and on the CPU on whether there are more than 8 tokens: fewer are multiplied
//   with the rows of the weight as they are stored (kernels/cpu/row_product.h). A device cuts the columns of a narrow weight
//   into splits, added in order.
// Deterministic. The CPU and a device differ by roundings.
// Workspace on a device: nf4_matmul_workspace_bytes().
// Cost: 2 * M * out * in FLOP. A device decodes the weights inside the product: 0.516 bytes per weight are read and
//   nothing is written but y.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"

namespace shori {

inline constexpr std::int64_t kMaxNf4MatmulTokens = 128;

// x [M, in], y [M, out], M <= kMaxNf4MatmulTokens; the weight is NF4. On a device `in` is a multiple of 64, `out` of 8.
void nf4_matmul(const OpContext& context, const FrozenWeight& weight, ConstTensorView x, TensorView y);

// The sums of the splits.
std::size_t nf4_matmul_workspace_bytes(std::int64_t tokens, std::int64_t out, std::int64_t in);

}  // namespace shori
