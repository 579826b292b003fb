// The seal at the end of our own safetensors files: written last, so a file without it was not finished. With the
// SHA-256 of every tensor in the manifest, it covers every bit of the file.
//
//   offset  0  magic, 8 bytes          8  u64 LE size of the file      16  u64 LE number (a checkpoint's step, else 0)
//          24  SHA-256 of everything before the data followed by the manifest tensor       56  u64 LE format version
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shori {

inline constexpr char kManifestName[] = "shori.manifest";  // U8, canonical JSON padded with spaces: last but one tensor
inline constexpr char kSealName[] = "shori.seal";          // U8 [kSealBytes]: last tensor
inline constexpr std::size_t kSealBytes = 64;

struct SealFields {
  std::string_view magic;  // 8 characters
  std::uint64_t file_size = 0, number = 0, version = 0;
};
std::string make_seal(const SealFields& fields, std::string_view header, std::string_view manifest);

// The number and version that a seal names; nothing is checked.
std::uint64_t seal_number(std::string_view seal);
std::uint64_t seal_version(std::string_view seal);

}  // namespace shori
