// One AdamW step over all tensors, 8-bit blockwise moments. Source: bitsandbytes CUDA kernels
// (kOptimizerStatic8bit2StateBlockwise, 32-bit kernel for small tensors): decay after the update, update from the
// unquantized moments, nearest code with ties to the even index, sign fix-up for m. Every operation is rounded
// separately (no FMA), so CPU and CUDA agree to the bit.
#pragma once

#include <cstdint>
#include <span>

#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// Below this many elements a tensor keeps fp32 moments (bitsandbytes' min_8bit_size).
inline constexpr std::int64_t kMin8BitElements = 4096;

// One parameter tensor. Either the 8-bit or the 32-bit state is set.
struct AdamTensor {
  float* parameter = nullptr;       // [count]
  const float* gradient = nullptr;  // [count]
  std::int64_t count = 0;
  std::uint64_t step = 0;           // t of this update, from 1
  std::uint8_t* m_codes = nullptr;  // [count], signed map
  std::uint8_t* v_codes = nullptr;  // [count], unsigned map
  float* m_absmax = nullptr;        // [ceil(count / block_size)]
  float* v_absmax = nullptr;
  float* m = nullptr;  // [count], tensors below kMin8BitElements
  float* v = nullptr;
  void* rounded_copy = nullptr;  // the copy the products use: round(copy_scale * parameter), copy_dtype
  DType copy_dtype = DType::kF32;
  float copy_scale = 1.0f;
};

struct AdamSettings {
  float learning_rate = 0.0f;
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.0f;
  std::int64_t block_size = 256;    // 2048 as bitsandbytes <= 0.43
  bool zero_gradient_guard = true;  // no update where the fresh v is exactly 0; its m and v become +0, before the new
                                    // absmax, and their codes too
  float gradient_scale = 1.0f;      // the clip coefficient
};

// What each parameter is multiplied by after its update: 1 - learning_rate * weight_decay, in fp32.
float adam_decay_factor(float learning_rate, float weight_decay);

// Bytes an element: parameter 8, gradient 4, moments 4 (fp32: 16), and the copy; scales not counted.
// Returns the largest absolute change of a parameter before decay, and where.
struct AdamReport {
  float update_max = 0.0f;
  std::int64_t tensor = 0, element = 0;
};
AdamReport adamw8bit(const OpContext& context, const AdamSettings& settings, std::span<const AdamTensor> tensors);

}  // namespace shori
