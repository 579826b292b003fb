// Limits of what is read from files. Counts are compared with these, and with the bytes that remain, before anything is
// allocated. The comments give the values of Mistral-7B.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 16u << 20;  // about 12 KB; the format allows 100,000,000
inline constexpr std::size_t kMaxTensors = 16384;                  // 291
inline constexpr std::size_t kMaxTensorRank = 8;                   // 2
inline constexpr std::size_t kMaxTensorName = 512;
inline constexpr std::size_t kMaxMetadataBytes = 1u << 20;
inline constexpr int kMaxHeaderDepth = 4;
inline constexpr int kMaxIndexDepth = 8;
inline constexpr std::size_t kMaxJsonFile = 16u << 20;  // [25,125: the index]
inline constexpr std::size_t kMaxShards = 1000;         // [3]

}  // namespace shori
