// The head and its loss by tile products (kernels/cpu/product.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// head_loss() for bf16, with checked operands.
void tile_head_loss(const OpContext& context, ConstTensorView h, ConstTensorView weight,
                    std::span<const std::int32_t> targets, double gradient_weight, std::span<float> losses,
                    std::optional<TensorView> dh);

}  // namespace shori
