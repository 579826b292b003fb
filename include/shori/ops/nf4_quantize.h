// NF4 quantization on a device, for loading. The CPU version is Nf4Quantizer (quant/nf4.h); the bytes are the same.
//
// A tensor arrives in chunks. nf4_quantize turns each chunk into codes and one fp32 absmax per block of 64 weights;
// after the last chunk nf4_quantize_absmax quantizes the absmax themselves. Everything is queued on the context's
// stream, and the host reads the findings when the stream has passed.
//
// Order of the sums: the offset is a mean of the absmax in fp64, added in index order.
// Deterministic: bit for bit the same as on the CPU.
// Workspace: nf4_quantize_workspace_bytes() for nf4_quantize_absmax, none for nf4_quantize.
// Cost: each weight is read once and 0.5625 bytes are written for it; then 5 bytes per block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/io/safetensors.h"
#include "shori/ops/op_context.h"
#include "shori/quant/nf4.h"

namespace shori {

// values [count], device memory, 16-byte aligned: BF16, F16 or F32, as in the file. A chunk begins at a block of 64;
// count is a multiple of 8, and of 64 in all chunks but the last. codes [count / 2] and block_absmax [ceil(count / 64)]
// are those of the chunk. The block_absmax of a block with NaN or Inf is not finite.
void nf4_quantize(const OpContext& context, FileDType source, const void* values, std::int64_t count,
                  std::uint8_t* codes, float* block_absmax);

// block_absmax [blocks] of a whole tensor -> absmax [blocks], absmax2 [ceil(blocks / 256)], findings.
void nf4_quantize_absmax(const OpContext& context, const float* block_absmax, std::int64_t blocks, std::uint8_t* absmax,
                         float* absmax2, Nf4Findings* findings);

// The sums of groups of 256 blocks.
std::size_t nf4_quantize_workspace_bytes(std::int64_t blocks);

}  // namespace shori
