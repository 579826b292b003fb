#include "shori/io/half_rows.h"

#include <algorithm>
#include <cstring>

#include "shori/io/half.h"
#include "shori/util/bf16.h"
#include "shori/util/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shori {
namespace {

#if defined(__x86_64__)
bool has_conversion() { return __builtin_cpu_supports("f16c") && __builtin_cpu_supports("avx"); }

// Whole groups of 8; returns how many values were converted. A group with a NaN goes through float_to_half(), because the
// instruction keeps more of the payload.
__attribute__((target("avx,f16c"))) std::size_t convert_groups(std::span<const float> values, std::uint16_t* out) {
  std::size_t i = 0;
  for (; i + 8 <= values.size(); i += 8) {
    const __m256 group = _mm256_loadu_ps(values.data() + i);
    if (_mm256_movemask_ps(_mm256_cmp_ps(group, group, _CMP_UNORD_Q)) != 0)
      std::transform(values.data() + i, values.data() + i + 8, out + i, float_to_half);
    else
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(group, _MM_FROUND_TO_NEAREST_INT));
  }
  return i;
}
#else
bool has_conversion() { return false; }
std::size_t convert_groups(std::span<const float>, std::uint16_t*) { return 0; }
#endif

}  // namespace

void widen_values(FileDType dtype, const void* values, std::size_t count, float* out) {
  if (dtype == FileDType::kF32) {
    std::memcpy(out, values, count * sizeof(float));
    return;
  }
  SHORI_CHECK(dtype == FileDType::kBf16 || dtype == FileDType::kF16, "only BF16, F16 and F32 are widened");
  const auto* bits = static_cast<const std::uint16_t*>(values);
  if (dtype == FileDType::kF16) {
    std::transform(bits, bits + count, out, half_to_float);
    return;
  }
  // A constant number of steps, so that the compiler makes vectors of them.
  constexpr std::size_t kStep = 64;
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (std::size_t k = 0; k < kStep; ++k) out[i + k] = to_float(Bf16{bits[i + k]});
  }
  for (; i < count; ++i) out[i] = to_float(Bf16{bits[i]});
}

void to_halves(std::span<const float> values, std::uint16_t* out) {
  static const bool converts = has_conversion();
  const std::size_t done = converts ? convert_groups(values, out) : 0;
  std::transform(values.begin() + static_cast<std::ptrdiff_t>(done), values.end(), out + done, float_to_half);
}

}  // namespace shori
