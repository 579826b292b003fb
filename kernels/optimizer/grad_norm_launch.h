// Launchers of ops/grad_norm.h.
#pragma once

#include "kernels/common/launch.h"

namespace shori {

inline constexpr std::int64_t kNormChunk = 4096;  // elements that one fp32 tree sums

struct GradNormEntry {
  const float* data;  // 16-byte aligned
  std::int64_t count;
  std::int64_t first;  // number of its first chunk
};
// sums[chunk] = sum of squares of the chunk, for each of `chunks` chunks.
SHORI_LAUNCHER void launch_square_sums(const GradNormEntry* table, int entries, std::int64_t chunks, float* sums,
                                       cudaStream_t stream);
// *total = the sums added in order, in fp64.
SHORI_LAUNCHER void launch_ordered_sum(const float* sums, std::int64_t count, double* total, cudaStream_t stream);

}  // namespace shori
