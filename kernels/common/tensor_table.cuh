// Kernels that take many tensors in one launch. They get a table of descriptors in device memory. Tensors are cut into
// chunks, which are numbered through all tensors; the field `first` of a descriptor is the number of its first chunk.
#pragma once

#include "kernels/common/cuda_common.cuh"

namespace shori {

// The tensor that chunk `chunk` belongs to: the last entry whose `first` is not above it. table[0].first is 0.
template <class Entry>
__device__ int entry_of_chunk(const Entry* table, int count, std::int64_t chunk) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table[middle].first <= chunk ? low : high) = middle;
  }
  return low;
}

}  // namespace shori
