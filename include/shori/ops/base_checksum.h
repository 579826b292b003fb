// A 64-bit checksum of frozen weights. It finds any flipped bit and depends on the position of each word.
//
//   sum over 64-bit little-endian words w_i of mix(w_i ^ mix(i + 1)), modulo 2^64
//
// mix is the finalizer of splitmix64; the last word is padded with zeros.
// Deterministic: addition modulo 2^64 is commutative and associative, so every device returns the same sum.
// Workspace on a device: 8 bytes. Cost: `bytes` bytes read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/ops/op_context.h"

namespace shori {

// On a device `data` is 16-byte aligned.
std::uint64_t base_checksum(const OpContext& context, const void* data, std::size_t bytes);

}  // namespace shori
