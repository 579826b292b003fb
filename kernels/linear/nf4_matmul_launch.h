// Launcher of ops/nf4_matmul.h.
#pragma once

#include <algorithm>

#include "kernels/common/launch.h"
#include "shori/util/math.h"

namespace shori {

struct Nf4MatmulLaunch {
  const Bf16* x;              // [tokens, in]
  const std::uint8_t* codes;  // [out, in / 2]
  const std::uint8_t* absmax;
  const float* absmax2;
  const float* map;  // [256] device_map_signed()
  float offset;
  const float* scales;  // flat scale of each block, instead of the four above; or null
  Bf16* y;              // [tokens, out]
  float* partials;      // [splits, tokens, out]; unused if there is one split
  std::int64_t x_stride, y_stride;
  int tokens, out, in, splits;
};
SHORI_LAUNCHER void launch_nf4_matmul(const Nf4MatmulLaunch& arguments, cudaStream_t stream);

// The number of splits of the columns, so that a narrow weight still gives about 256 thread blocks of 64 rows. Their sums
// are added in order.
inline int nf4_matmul_splits(std::int64_t out, std::int64_t in) {
  const std::int64_t row_blocks = ceil_div<std::int64_t>(out, 64), chunks = in / 64;
  return static_cast<int>(std::max<std::int64_t>(1, std::min({256 / row_blocks, chunks, std::int64_t{8}})));
}

}  // namespace shori
