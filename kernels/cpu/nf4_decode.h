// Decoding NF4 weights on the CPU, for each instruction set. All give the bits of nf4_weight().
#pragma once

#include <cstdint>

#include "shori/ops/cpu_isa.h"
#include "shori/quant/nf4.h"

namespace shori {

// Writes elements first .. first + count - 1 of the flattened weight, rounded to bf16; widened if `out` is fp32. Reads
// nothing but the bytes and scales of these elements.
void decode_nf4(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t count, float* out);
void decode_nf4(CpuIsa isa, const Nf4View& weight, std::int64_t first, std::int64_t count, Bf16* out);

}  // namespace shori
