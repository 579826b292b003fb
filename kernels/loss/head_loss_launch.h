// Launcher of ops/head_loss.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

// Writes the loss of each row of logits, and replaces the row by weight * d(loss)/d(logits), rounded to bf16. An ignored
// row (target -100) has loss 0 and a gradient of zeros. Bytes: the logits are read twice and written once.
struct HeadLossLaunch {
  Bf16* logits;                   // [rows, vocabulary], 16-byte aligned
  const std::int32_t* targets;    // [rows]
  float* losses;                  // [rows]
  std::int64_t rows, vocabulary;  // vocabulary: a multiple of 8
  float weight;
  bool with_gradient;  // false: the logits stay as they are
};
SHORI_LAUNCHER void launch_head_loss(const HeadLossLaunch& arguments, cudaStream_t stream);

}  // namespace shori
