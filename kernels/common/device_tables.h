// The 8-bit dynamic maps (quant/dynamic_map.h) in device memory. Kernels look values up in them, so the maps are uploaded
// and not compiled in.
#pragma once

namespace shori {

// [256] fp32 each, uploaded to the opened device at the first call.
const float* device_map_signed();
const float* device_map_unsigned();

}  // namespace shori
