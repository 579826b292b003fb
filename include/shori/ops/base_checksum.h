// A 64-bit checksum of frozen weights that finds any flipped bit and depends on positions; the same on every device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/ops/op_context.h"

namespace shori {

// Sum over 64-bit little-endian words w_i (the last one zero-padded) of mix(w_i ^ mix(i + 1)), modulo 2^64, mix = the
// splitmix64 finalizer. Order-free, so any device may sum in any order. `bytes` are read.
std::uint64_t base_checksum(const OpContext& context, const void* data, std::size_t bytes);

}  // namespace shori
