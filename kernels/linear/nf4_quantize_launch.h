// Launchers of ops/nf4_quantize.h.
#pragma once

#include "kernels/common/launch.h"
#include "shori/ops/nf4_quantize.h"

namespace shori {

struct Nf4QuantizeLaunch {
  FileDType source;
  const void* values;   // [count]
  std::uint8_t* codes;  // [count / 2]
  float* block_absmax;  // [ceil(count / 64)]
  std::int64_t count;
};
SHORI_LAUNCHER void launch_nf4_quantize(const Nf4QuantizeLaunch& arguments, cudaStream_t stream);

// One group of 256 absmax.
struct AbsmaxGroup {
  double sum;  // in index order
  std::int64_t zero_blocks;
  std::int64_t bad_block;  // the first one that is not finite, else -1
};
struct AbsmaxLaunch {
  const float* block_absmax;  // [blocks]
  const float* map;           // [256] device_map_signed()
  AbsmaxGroup* groups;        // [ceil(blocks / 256)] scratch
  std::uint8_t* absmax;       // [blocks]
  float* absmax2;             // [ceil(blocks / 256)]
  Nf4Findings* findings;
  std::int64_t blocks;
};
SHORI_LAUNCHER void launch_nf4_quantize_absmax(const AbsmaxLaunch& arguments, cudaStream_t stream);

}  // namespace shori
