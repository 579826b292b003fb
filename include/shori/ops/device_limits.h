// What the device versions of the ops ask of a model, so that it can be told before anything is loaded.
#pragma once

#include <cstdint>

namespace shori {

inline constexpr std::int64_t kDeviceRowMultiple = 8;    // columns of every matrix: elements of a 16-byte access
inline constexpr std::int64_t kDeviceHeadMultiple = 16;  // of the head size: two halves of such accesses
inline constexpr std::int64_t kMostDeviceHeadDim = 256;  // FlashAttention-2
inline constexpr std::int64_t kMostNormColumns = 16384;  // a row is kept in registers
inline constexpr int kMostDeviceRank = 64;               // of LoRA

}  // namespace shori
