// Global gradient norm: the square root of the sum of squares over all tensors.
//
// Order of the sum: each tensor is cut into chunks of 4,096 elements. The squares of a chunk, padded with zeros to
//   4,096, are halved in fp32: s[i] += s[i + half] for half = 2,048 ... 1. The sums of the chunks are then added in
//   order, in fp64.
// Deterministic: this one order holds everywhere, so the CPU and a device agree bit for bit.
// Not finite if any gradient is not.
// Workspace on a device: 24 bytes per tensor and 4 bytes per chunk. Cost: 4 bytes per element read.
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/op_context.h"

namespace shori {

struct GradientSpan {
  const float* data = nullptr;  // 16-byte aligned on a device
  std::int64_t count = 0;
};

double gradient_norm(const OpContext& context, std::span<const GradientSpan> gradients);

}  // namespace shori
