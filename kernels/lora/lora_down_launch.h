// Launcher of ops/lora_down.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"

namespace shori {

inline constexpr int kLoraDownParts = 4;                // of the columns: their sums are in memory
inline constexpr std::int64_t kLoraDownTokens = 16384;  // of one launch: bounds the sums

// One pass over x for the adapters of all slots. Pointers are 16-byte aligned, x_stride, in and tail multiples of 8.
// Bytes: x read once, the sums of the parts written and read, the tail written once.
struct LoraDownLaunch {
  Bf16* x;      // [rows, in + tail]; the tail is written
  float* sums;  // [kLoraDownParts, rows, slots * rank]
  std::int64_t x_stride, rows;
  int in, tail, rank, slots;             // slots * rank <= tail; 1 <= rank <= kMaxDeviceRank
  const Bf16* a[kMaxModulesOfGroup];     // [rank, in] of each slot
  int module_index[kMaxModulesOfGroup];  // of each slot, for its mask
  DropoutMask mask;
};
SHORI_LAUNCHER void launch_lora_down(const LoraDownLaunch& arguments, cudaStream_t stream);

}  // namespace shori
