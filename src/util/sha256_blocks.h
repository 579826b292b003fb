// The SHA-256 compression function, portable and with the SHA instructions of x86. For hash.cpp and its tests.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

// These functions update `state` with `count` blocks of 64 bytes.
void sha256_blocks_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count);
// May be called only if has_sha_instructions(). The second one hashes two texts in about the time of one.
void sha256_blocks_x86(std::uint32_t* state, const std::uint8_t* data, std::size_t count);
void sha256_two_x86(std::uint32_t* state, const std::uint8_t* data, std::uint32_t* other_state,
                    const std::uint8_t* other_data, std::size_t count);
bool has_sha_instructions();

}  // namespace shori
