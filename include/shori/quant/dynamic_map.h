// The 8-bit dynamic maps: 256 ascending values each, dense near zero. Those of bitsandbytes' create_dynamic_map(signed,
// 7, 8), as it computes them on machines with AVX2 (linspace by fused multiply-add); elsewhere it differs by up to 2
// ulp.
#pragma once

namespace shori {

// 127 negative values, 0 at index 127, 128 positive values up to 1: double quantization and the first Adam moment.
const float* dynamic_map_signed();
// 0 at index 0, up to 1: the second Adam moment.
const float* dynamic_map_unsigned();

}  // namespace shori
