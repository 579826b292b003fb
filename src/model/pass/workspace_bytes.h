// Scratch memory of the kernels on a device.
#pragma once

#include <cstddef>

#include "shori/model/decoder_layer.h"

namespace shori {

// The largest workspace that any op uses in a pass of up to `tokens`, or in an optimizer step. `decode_once`: decoded weights
// have memory of their own.
std::size_t device_workspace_bytes(const DecoderLayer& layer, const MistralConfig& config, std::int64_t tokens,
                                   bool backward, bool decode_once);

}  // namespace shori
