// Kernels that take many tensors in one launch: a table of descriptors in device memory, each with the number of the
// first piece of work that is its own, `first`, ascending.
#pragma once

#include "kernels/common/cuda_common.cuh"

namespace shori {

// The last entry whose `first` is not above `piece`; table[0].first is 0.
template <class Entry>
__device__ int entry_of_piece(const Entry* table, int count, std::int64_t piece) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (table[middle].first <= piece ? low : high) = middle;
  }
  return low;
}

}  // namespace shori
