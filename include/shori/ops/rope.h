// Rotary position embedding in place, half-split layout: element i of a head is paired with element i + D/2.
//
//   q' = round( round(q * cos) + round(rotate_half(q) * sin) )
//
// Rounding: to the activation dtype, after each product and after the sum, as transformers does.
// Deterministic: no sums. The table is computed on the host, so the CPU and a device agree bit for bit.
// Workspace on a device: none. Cost: the heads read once and written once.
// Source: transformers apply_rotary_pos_emb.
#pragma once

#include <cstdint>
#include <vector>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// cos and sin of fp32(position * inv_freq[k]), rounded to the activation dtype, [positions, D/2].
// inv_freq[k] = fp32(1 / fp32(pow(theta, 2k/D))), pow in double.
struct RopeTable {
  DType dtype = DType::kF32;
  std::int64_t positions = 0;
  std::int64_t half = 0;  // D / 2
  std::vector<std::byte> cos, sin;
  const void *device_cos = nullptr, *device_sin = nullptr;  // the same on the device, for ops there
};
RopeTable make_rope_table(DType dtype, std::int64_t positions, std::int64_t head_dim, double theta);
std::vector<float> rope_inverse_frequencies(std::int64_t head_dim, double theta);

// heads [T, n * D]. positions [T]: they restart at 0 in every sample. inverse: rotates by -sin, which is the backward of
// the forward rotation.
void rope(const OpContext& context, const RopeTable& table, const Int32Array& positions, bool inverse,
          TensorView heads);

}  // namespace shori
