// The SHA-256 compression function, portable and by the SHA instructions of x86. For hash.cpp and its tests.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

// Both: `state` is updated with `count` blocks of 64 bytes.
void sha256_blocks_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count);
// Only where has_sha_instructions() is true.
void sha256_blocks_x86(std::uint32_t* state, const std::uint8_t* data, std::size_t count);
bool has_sha_instructions();

}  // namespace shori
