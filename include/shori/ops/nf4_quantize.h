// NF4 quantization on a device, for loading: the same bytes as Nf4Quantizer (quant/nf4.h), which is its CPU version.
//
// A tensor arrives in pieces, each quantized to codes and fp32 absmax; after the last piece the absmax are quantized
// themselves. Everything is queued on the context's stream; the host reads the findings when it has passed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shori/io/safetensors.h"
#include "shori/ops/op_context.h"
#include "shori/quant/nf4.h"

namespace shori {

// values [count], device memory, 16-byte aligned: BF16, F16 or F32 as the file has them. A piece begins with a block of
// 64; count is a multiple of 8, and of 64 in all pieces but the last. codes [count / 2] and block_absmax [ceil(count /
// 64)] are those of the piece. A block with NaN or Inf has a block_absmax that is not finite. Bytes a weight: its own
// read, 0.5625 written.
void nf4_quantize(const OpContext& context, FileDType source, const void* values, std::int64_t count,
                  std::uint8_t* codes, float* block_absmax);

// Double quantization of a whole tensor: block_absmax [blocks] -> absmax [blocks], absmax2 [ceil(blocks / 256)], and
// the findings. Bytes: 5 a block. Workspace: nf4_quantize_workspace_bytes(blocks).
void nf4_quantize_absmax(const OpContext& context, const float* block_absmax, std::int64_t blocks, std::uint8_t* absmax,
                         float* absmax2, Nf4Findings* findings);

// Bytes that nf4_quantize_absmax takes from the workspace: sums of groups of blocks.
std::size_t nf4_quantize_workspace_bytes(std::int64_t blocks);

}  // namespace shori
