// Frozen weights as fp32 tiles for the CPU products.
#pragma once

#include <cstdint>

#include "kernels/cpu/matmul.h"
#include "shori/ops/linear_group.h"

namespace shori {

// Rows [row, row + rows), columns [col, col + cols) of the weight; NF4 values are rounded to bf16. An fp32 weight is
// its own tile, else it is written to `scratch` [rows, cols].
ConstMatrix weight_tile(const FrozenWeight& weight, std::int64_t row, std::int64_t rows, std::int64_t col,
                        std::int64_t cols, float* scratch);

// Bytes the weight says it has are there.
void check_weight(const char* op, const FrozenWeight& weight);
// One group with activations of `dtype`: shapes agree, slots are 0, 1, ..., and adapters have their factors.
void check_group(const char* op, const LinearGroup& group);

}  // namespace shori
