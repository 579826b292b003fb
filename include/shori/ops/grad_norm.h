// Global gradient norm with one fixed summation tree on every device.
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/op_context.h"

namespace shori {

struct GradientSpan {
  const float* data = nullptr;
  std::int64_t count = 0;
};

// sqrt of the sum of squares over all tensors. Stage 1: pieces of 4,096 elements of each tensor, squares padded with
// zeros to 4,096 and halved in fp32, s[i] += s[i + half] for half = 2,048 ... 1; stage 2: the pieces in order, fp64.
// Not finite if any gradient is not. Bytes: 4 an element, read.
double gradient_norm(const OpContext& context, std::span<const GradientSpan> gradients);

}  // namespace shori
