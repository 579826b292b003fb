// Limits of what is read from model files. Counts are compared with them, and with the bytes that remain, before anything
// is allocated. In brackets: the value of Mistral-7B.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

// The format allows 100,000,000 bytes. [about 12,000 per shard]
inline constexpr std::uint64_t kMaxSafetensorsHeader = 16u << 20;
inline constexpr std::size_t kMaxTensors = 16384;  // [291]
inline constexpr std::size_t kMaxTensorRank = 8;   // [2]
inline constexpr std::size_t kMaxTensorName = 512;
inline constexpr std::size_t kMaxMetadataBytes = 1u << 20;
inline constexpr int kMaxHeaderDepth = 4;
inline constexpr int kMaxIndexDepth = 8;
inline constexpr std::size_t kMaxJsonFile = 16u << 20;  // [25,125: the index]
inline constexpr std::size_t kMaxShards = 1000;         // [3]

}  // namespace shori
