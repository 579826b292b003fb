// What the device versions of the ops ask of a model, so that it can be told before anything is loaded.
#pragma once
#include <cstddef>
#include <cstdint>

#include "shori/util/math.h"

namespace shori {

inline constexpr std::int64_t kDeviceRowMultiple = 8;    // columns of every matrix: elements of a 16-byte access
inline constexpr std::int64_t kDeviceHeadMultiple = 16;  // of the head size: two halves of such accesses
inline constexpr std::int64_t kMaxDeviceHeadDim = 256;   // FlashAttention-2
inline constexpr std::int64_t kMaxNormColumns = 16384;   // a row is kept in registers
inline constexpr int kMaxDeviceRank = 64;                // of LoRA

// Workspace of each large product (cuBLASLt); part of what the ops' ..._workspace_bytes() state.
inline constexpr std::size_t kMatmulWorkspaceBytes = std::size_t{64} << 20;

// What a piece of `bytes` takes of a device workspace, which hands out multiples of 256 bytes.
constexpr std::size_t device_bytes(std::int64_t bytes) {
  return round_up(static_cast<std::size_t>(bytes), std::size_t{256});
}

}  // namespace shori
