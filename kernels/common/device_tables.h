// The 8-bit dynamic maps in device memory: kernels index them with values, so they are not compiled in.
#pragma once

namespace shori {

// [256] fp32, made at the first call, on the opened device; the same bytes as quant/dynamic_map.h.
const float* device_map_signed();
const float* device_map_unsigned();

}  // namespace shori
