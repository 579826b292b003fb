// The arithmetic of one element of ops/adamw8bit.h, shared by the CPU version and the kernel.
#pragma once

#include <cmath>
#include <cstdint>

#include "shori/util/host_device.h"

namespace shori {

inline constexpr std::uint8_t kZeroCodeM = 127;  // the code of +0 in the signed map
inline constexpr std::uint8_t kZeroCodeV = 0;

// The scalars of one step for one tensor, computed once on the host, in fp32.
struct AdamFactors {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float step_size;  // -lr * c2 / c1
  float eps;        // c2 * eps
  float decay;      // 1 - lr * weight_decay
  float gradient_scale;
  bool decays;  // whether there is any weight decay
  bool guard;   // AdamSettings::zero_gradient_guard
};

struct AdamMoments {
  float m, v;
  bool still = false;  // the guard: the parameter gets no update
};

SHORI_HD AdamMoments guarded(const AdamFactors& factors, float m, float v) {
  if (factors.guard && v == 0.0f) return {0.0f, 0.0f, true};
  return {m, v, false};
}

// Fresh moments of an element with 8-bit moments, from its decoded old moments and a finite gradient.
SHORI_HD AdamMoments fresh_moments(const AdamFactors& factors, float old_m, float old_v, float gradient) {
  const float g = gradient * factors.gradient_scale;
  return guarded(factors, old_m * factors.beta1 + factors.one_minus_beta1 * g,
                 old_v * factors.beta2 + (factors.one_minus_beta2 * g) * g);
}

// The same for fp32 moments. As in the original, there is no rule for NaN, and g * g is rounded first.
SHORI_HD AdamMoments fresh_moments_fp32(const AdamFactors& factors, float old_m, float old_v, float gradient) {
  const float g = gradient * factors.gradient_scale;
  return guarded(factors, old_m * factors.beta1 + factors.one_minus_beta1 * g,
                 old_v * factors.beta2 + factors.one_minus_beta2 * (g * g));
}

// Moves the parameter by the moments before they are encoded, then decays it. Returns |update|.
SHORI_HD float move_parameter(const AdamFactors& factors, const AdamMoments& moments, float& parameter) {
  float size = 0.0f;
  if (!moments.still) {
    const float update = factors.step_size * (moments.m / (sqrtf(moments.v) + factors.eps));
    parameter = parameter + update;
    size = fabsf(update);
  }
  if (factors.decays) parameter = parameter * factors.decay;
  return size;
}

// The code of m: the nearest entry of the signed map, or its neighbour if that entry is on the other side of zero.
SHORI_HD std::uint8_t with_sign_of(const float* map, std::uint8_t nearest, float m) {
  if (std::signbit(map[nearest]) == std::signbit(m)) return nearest;
  return static_cast<std::uint8_t>(m > 0.0f ? nearest + 1 : nearest - 1);
}

}  // namespace shori
