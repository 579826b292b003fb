// Products of a few inputs with the rows of a weight, for decoding: a row is read once, as it is stored, and is widened in
// registers on its way to the sums. The speed is that of the memory that holds the weight.
//
// The order of a sum depends on the format and the length of the row alone, not on the number of inputs and not on the
// instruction set: 32 lanes are summed by fused multiply-adds, then both halves are added, then the 16 lanes by the tree of
// sum_of_lanes(). The lanes are
//   NF4    lanes k % 2 * 16 + l take element 4 w + k of a block, k = 0 .. 3, where w is row_word(l)
//   bf16   lane k * 16 + l takes element 2 l + k of 32
//   fp32   lane l takes element l of 32
// so that a word of the row stays in its lane while it is widened. Inputs are packed in the same order before.
#pragma once

#include <cstdint>

#include "kernels/cpu/row_dot.h"
#include "shori/ops/cpu_isa.h"
#include "shori/ops/linear_group.h"

namespace shori {

inline constexpr std::int64_t kMaxRowInputs = 8;

// The 16-bit word of a block's codes that lane `l` decodes.
constexpr std::int64_t row_word(std::int64_t l) { return l % 8 / 4 * 8 + l / 8 * 4 + l % 4; }

// Floats of one packed input.
std::int64_t packed_input_size(const FrozenWeight& weight);
// x [cols] in the order in which rows of `weight` are read, padded with zeros.
void pack_input(const FrozenWeight& weight, const float* x, float* packed);

// sums[input * stride + row - first] for rows [first, last) and inputs [0, count), count <= kMaxRowInputs. Input i is
// packed at packed + i * packed_input_size().
void multiply_rows(CpuIsa isa, const FrozenWeight& weight, std::int64_t first, std::int64_t last, const float* packed,
                   std::int64_t count, float* sums, std::int64_t stride);

// Adds the rows [first, last) of a dense matrix, in their order, to sums [weights.count, cols] by fused multiply-adds.
// weights.weights[0] is that of row `first`.
void add_weighted_rows(CpuIsa isa, const FrozenWeight& matrix, std::int64_t first, std::int64_t last,
                       const RowWeights& weights, float* sums);

}  // namespace shori
