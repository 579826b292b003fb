// Frozen weights: checks that all ops share, and fp32 tiles for the CPU products.
#pragma once

#include <cstdint>

#include "kernels/cpu/matmul.h"
#include "shori/ops/linear_group.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// Rows [row, row + rows), columns [col, col + cols) of the weight as fp32; NF4 values are rounded to bf16. The tile of an
// fp32 weight is a view of it, any other is written to `scratch` [rows, cols].
ConstMatrix weight_tile(const FrozenWeight& weight, std::int64_t row, std::int64_t rows, std::int64_t col,
                        std::int64_t cols, float* scratch);

// The weight has a shape and the memory that its dtype needs.
void check_weight(const char* op, const FrozenWeight& weight);
// The modules share their input, their lora_index count up from 0, and those with LoRA have their factors.
void check_group(const char* op, const LinearGroup& group);
// fused_x [T, fused_in()] and y [T, out()] of a product of the group, both in the activation dtype.
void check_linear(const char* op, const LinearGroup& group, ConstTensorView fused_x, ConstTensorView y);

}  // namespace shori
