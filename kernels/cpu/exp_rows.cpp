// The row functions that take e^x or the largest value, for registers of 4, 8 and 16 lanes. Whatever the registers, they
// sum in the same 16 lanes.
#pragma GCC optimize("O3")

#include <limits>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_math.h"
#include "shori/ops/cpu_isa.h"

// Defines `name` by three versions of the template name##_of, and a function that calls the one for this machine.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SHORI_ROW_FUNCTION(result, name, parameters, arguments)                                                        \
  __attribute__((target("arch=x86-64-v4"))) static result name##_avx512 parameters { return name##_of<16> arguments; } \
  __attribute__((target("arch=x86-64-v3"))) static result name##_avx2 parameters { return name##_of<8> arguments; }    \
  static result name##_plain parameters { return name##_of<4> arguments; }                                             \
  result name parameters {                                                                                             \
    static const CpuIsa isa = cpu_support().best;                                                                      \
    if (isa >= CpuIsa::kAvx512) return name##_avx512 arguments;                                                        \
    return isa == CpuIsa::kAvx2 ? name##_avx2 arguments : name##_plain arguments;                                      \
  }
#else
#define SHORI_ROW_FUNCTION(result, name, parameters, arguments) \
  result name parameters { return name##_of<4> arguments; }
#endif

namespace shori {

namespace {

template <typename Float>
SHORI_INLINE Float sigmoid_lanes(const Float& value) {
  Float e = -value;
  exp_lanes(e);
  return 1.0f / (1.0f + e);
}

// sum_of_lanes() of the kLanes lanes that are spread over `parts`.
template <int kWidth>
SHORI_INLINE float sum_of_parts(const typename Vector<kWidth>::Float (&parts)[kLanes / kWidth]) {
  float lanes[kLanes];
  for (int part = 0; part < kLanes / kWidth; ++part) Vector<kWidth>::store(parts[part], lanes + part * kWidth);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  }
  return lanes[0];
}

template <int kWidth>
SHORI_INLINE void silu_row_of(float* gate, std::int64_t count) {
  using V = Vector<kWidth>;
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const typename V::Float value = V::load(gate + i, count - i, 0.0f);
    V::store(value * sigmoid_lanes(value), count - i, gate + i);
  }
}

template <int kWidth>
SHORI_INLINE void swiglu_gradient_row_of(const float* dp, float* gate, float* up, std::int64_t count) {
  using V = Vector<kWidth>;
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const std::int64_t left = count - i;
    const typename V::Float g = V::load(gate + i, left, 0.0f), u = V::load(up + i, left, 0.0f);
    const typename V::Float d = V::load(dp + i, left, 0.0f), s = sigmoid_lanes(g);
    V::store(d * u * s * (1.0f + g * (1.0f - s)), left, gate + i);
    V::store(d * g * s, left, up + i);
  }
}

template <int kWidth>
SHORI_INLINE float max_of_row_of(const float* values, std::int64_t count) {
  using V = Vector<kWidth>;
  constexpr int kParts = kLanes / kWidth;
  typename V::Float largest[kParts], poison[kParts] = {};  // becomes NaN with the first NaN, and with an infinity
  for (auto& part : largest) part = typename V::Float{} - std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int part = 0; part < kParts; ++part) {
      const typename V::Float value = V::load(values + i + part * kWidth);
      largest[part] = value > largest[part] ? value : largest[part];
      poison[part] = poison[part] + value * 0.0f;
    }
  }
  float result = -std::numeric_limits<float>::infinity(), found = sum_of_parts<kWidth>(poison);
  for (const auto& part : largest) {
    float lanes[kWidth];
    V::store(part, lanes);
    for (const float lane : lanes) result = lane > result ? lane : result;
  }
  for (; i < count; ++i) {
    result = values[i] > result ? values[i] : result;
    found = found + values[i] * 0.0f;
  }
  if (found == 0.0f) return result;
  for (i = 0; i < count; ++i) {
    if (values[i] != values[i]) return values[i];
  }
  return result;
}

template <int kWidth>
SHORI_INLINE float exp_shifted_row_of(float scale, float shift, float* values, std::int64_t count) {
  using V = Vector<kWidth>;
  constexpr int kParts = kLanes / kWidth;
  typename V::Float sum[kParts] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int part = 0; part < kParts; ++part) {
      typename V::Float value = V::load(values + i + part * kWidth) * scale - shift;
      exp_lanes(value);
      V::store(value, values + i + part * kWidth);
      sum[part] = sum[part] + value;
    }
  }
  // Lanes past the end hold -infinity, so they add 0 to the sum.
  for (int part = 0; part < kParts && i < count; ++part, i += kWidth) {
    const std::int64_t left = count - i;
    typename V::Float value = V::load(values + i, left, -std::numeric_limits<float>::infinity()) * scale - shift;
    exp_lanes(value);
    V::store(value, left, values + i);
    sum[part] = sum[part] + value;
  }
  return sum_of_parts<kWidth>(sum);
}

template <int kWidth>
SHORI_INLINE void attention_gradient_row_of(float scale, float lse, float delta, float* score, float* dscore,
                                            std::int64_t count) {
  using V = Vector<kWidth>;
  for (std::int64_t i = 0; i < count; i += kWidth) {
    const std::int64_t left = count - i;
    typename V::Float p = V::load(score + i, left, 0.0f) * scale - lse;
    exp_lanes(p);
    const typename V::Float d = V::load(dscore + i, left, 0.0f);
    V::store(p, left, score + i);
    V::store(p * (d - delta) * scale, left, dscore + i);
  }
}

}  // namespace

SHORI_ROW_FUNCTION(void, silu_row, (float* gate, std::int64_t count), (gate, count))
SHORI_ROW_FUNCTION(void, swiglu_gradient_row, (const float* dp, float* gate, float* up, std::int64_t count),
                   (dp, gate, up, count))
SHORI_ROW_FUNCTION(float, max_of_row, (const float* values, std::int64_t count), (values, count))
SHORI_ROW_FUNCTION(float, exp_shifted_row, (float scale, float shift, float* values, std::int64_t count),
                   (scale, shift, values, count))
SHORI_ROW_FUNCTION(void, attention_gradient_row,
                   (float scale, float lse, float delta, float* score, float* dscore, std::int64_t count),
                   (scale, lse, delta, score, dscore, count))

}  // namespace shori
