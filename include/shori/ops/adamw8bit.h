// One AdamW step over all tensors, with 8-bit blockwise moments.
//
// For each element, with t the step, g = gradient_scale * gradient, c1 = 1 - beta1^t and c2 = sqrt(1 - beta2^t):
//
//   m = beta1 * m + (1 - beta1) * g
//   v = beta2 * v + (1 - beta2) * g * g
//   p = p - learning_rate * c2 / c1 * m / (sqrt(v) + c2 * eps)
//   p = p * (1 - learning_rate * weight_decay)
//
// Rounding: fp32, each operation rounded on its own (no FMA). The parameter moves by the moments before they are
//   encoded; a code is the nearest entry of the dynamic map, ties go to the even index, and m never changes its sign.
// Not finite: where a gradient of a tensor with 8-bit moments is not finite, both moments become 0 and the parameter
//   stays. Tensors with fp32 moments have no such rule.
// Deterministic: elements are independent and block maxima have no order. The CPU and a device agree bit for bit.
// Workspace on a device: about 200 bytes per tensor.
// Cost: 16 bytes per element (fp32 moments: 28) and the copy; the scales of the blocks are not counted.
// Source: bitsandbytes' CUDA kernels (kOptimizerStatic8bit2StateBlockwise, and the 32-bit kernel for small tensors).
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// A tensor with fewer elements keeps fp32 moments (bitsandbytes' min_8bit_size).
inline constexpr std::int64_t kMin8BitElements = 4096;

// One parameter tensor. Either the 8-bit or the fp32 moments are set.
struct AdamTensor {
  float* parameter = nullptr;       // [count]
  const float* gradient = nullptr;  // [count]
  std::int64_t count = 0;
  std::uint64_t step = 0;           // t of this update, from 1
  std::uint8_t* m_codes = nullptr;  // [count], signed map
  std::uint8_t* v_codes = nullptr;  // [count], unsigned map
  float* m_absmax = nullptr;        // [ceil(count / block_size)]
  float* v_absmax = nullptr;        // [ceil(count / block_size)]
  float* m = nullptr;               // [count], instead of the four above
  float* v = nullptr;               // [count]
  void* rounded_copy = nullptr;     // [count], what matrix products read: round(copy_scale * parameter); may be null
  DType copy_dtype = DType::kF32;
  float copy_scale = 1.0f;
};

struct AdamSettings {
  float learning_rate = 0.0f;
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.0f;
  std::int64_t block_size = 256;  // 2048 in bitsandbytes <= 0.43; a device takes these two
  // An element whose new v is exactly 0 gets no update (only decay), so that old momentum cannot push a parameter that
  // has no gradient. Its moments become +0 before the maximum of the block is taken, and so do their codes.
  bool zero_gradient_guard = true;
  float gradient_scale = 1.0f;  // the clip coefficient
};

// What each parameter is multiplied by after its update: 1 - learning_rate * weight_decay, in fp32.
float adam_decay_factor(float learning_rate, float weight_decay);

// The largest absolute change of a parameter before decay, and the first element that has it.
struct AdamReport {
  float update_max = 0.0f;
  std::int64_t tensor = 0, element = 0;
};
AdamReport adamw8bit(const OpContext& context, const AdamSettings& settings, std::span<const AdamTensor> tensors);

}  // namespace shori
