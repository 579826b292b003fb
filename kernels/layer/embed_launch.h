// Launcher of ops/embed.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

struct EmbedLaunch {
  const Bf16* table;        // [vocabulary, cols]
  const std::int32_t* ids;  // [rows]
  Bf16* x;                  // [rows, cols]
  std::int64_t table_stride, x_stride;
  std::int64_t rows, cols;
};
SHORI_LAUNCHER void launch_embed(const EmbedLaunch& arguments, cudaStream_t stream);

}  // namespace shori
