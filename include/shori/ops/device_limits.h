// What the device versions of the ops require of a model, so that a run can be refused before anything is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/util/math.h"

namespace shori {

inline constexpr std::int64_t kDeviceRowMultiple = 8;    // columns of every matrix: bf16 values of a 16-byte access
inline constexpr std::int64_t kDeviceHeadMultiple = 16;  // head size: RoPE reads its halves by 16-byte accesses
inline constexpr std::int64_t kMaxDeviceHeadDim = 256;   // limit of FlashAttention-2
inline constexpr std::int64_t kMaxNormColumns = 16384;   // rms_norm keeps a row in registers
inline constexpr int kMaxDeviceRank = 64;                // LoRA rank

// Workspace that cuBLASLt gets for each large product. The ops' ..._workspace_bytes() include it.
inline constexpr std::size_t kMatmulWorkspaceBytes = std::size_t{64} << 20;

// A device workspace hands out multiples of 256 bytes.
constexpr std::size_t device_bytes(std::int64_t bytes) {
  return round_up(static_cast<std::size_t>(bytes), std::size_t{256});
}

}  // namespace shori
