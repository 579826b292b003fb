// Launcher of ops/lora_down.h.
#pragma once

#include "kernels/common/launch.h"
#include "kernels/lora/dropout_mask.cuh"

namespace shori {

inline constexpr int kLoraDownSplits = 4;               // parts of the columns, whose sums are added in order
inline constexpr std::int64_t kLoraDownTokens = 16384;  // at most in one launch, which bounds the memory of the sums

// One pass over x for all modules with LoRA. Pointers are 16-byte aligned; x_stride, in and lora_columns are multiples
// of 8. Bytes: x is read once, the sums of the splits are written and read, the LoRA columns are written once.
struct LoraDownLaunch {
  Bf16* x;      // [rows, in + lora_columns]; the LoRA columns are written
  float* sums;  // [kLoraDownSplits, rows, modules * rank]
  std::int64_t x_stride, rows;
  int in, lora_columns;
  int rank;                              // 1 .. kMaxDeviceRank
  int modules;                           // number of modules with LoRA; modules * rank <= lora_columns
  const Bf16* a[kMaxModulesOfGroup];     // [rank, in], in the order of the modules' lora_index
  int module_index[kMaxModulesOfGroup];  // part of the mask's key
  DropoutMask mask;
};
SHORI_LAUNCHER void launch_lora_down(const LoraDownLaunch& arguments, cudaStream_t stream);

}  // namespace shori
