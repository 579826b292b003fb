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

// Both convert whole groups of 8 and return how many values they were. A group with a NaN goes one by one: the instruction
// to halves keeps more of the payload, the one from halves makes every NaN a quiet one.
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

__attribute__((target("avx,f16c"))) std::size_t convert_groups(std::span<const std::uint16_t> halves, float* out) {
  std::size_t i = 0;
  for (; i + 8 <= halves.size(); i += 8) {
    const __m256 group = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves.data() + i)));
    if (_mm256_movemask_ps(_mm256_cmp_ps(group, group, _CMP_UNORD_Q)) != 0)
      std::transform(halves.data() + i, halves.data() + i + 8, out + i, half_to_float);
    else
      _mm256_storeu_ps(out + i, group);
  }
  return i;
}
#else
bool has_conversion() { return false; }
std::size_t convert_groups(std::span<const float>, std::uint16_t*) { return 0; }
std::size_t convert_groups(std::span<const std::uint16_t>, float*) { return 0; }
#endif

// The rest after the whole groups goes through `convert_one`.
template <typename From, typename To>
void convert(std::span<const From> values, To* out, To (*convert_one)(From)) {
  static const bool converts = has_conversion();
  const std::size_t done = converts ? convert_groups(values, out) : 0;
  std::transform(values.begin() + static_cast<std::ptrdiff_t>(done), values.end(), out + done, convert_one);
}

}  // namespace

void widen_values(FileDType dtype, const void* values, std::size_t count, float* out) {
  if (dtype == FileDType::kF32) {
    std::memcpy(out, values, count * sizeof(float));
    return;
  }
  SHORI_CHECK(dtype == FileDType::kBf16 || dtype == FileDType::kF16, "only BF16, F16 and F32 are widened");
  const auto* bits = static_cast<const std::uint16_t*>(values);
  if (dtype == FileDType::kF16) return from_halves({bits, count}, out);
  // A constant number of steps, so that the compiler makes vectors of them.
  constexpr std::size_t kStep = 64;
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    for (std::size_t k = 0; k < kStep; ++k) out[i + k] = to_float(Bf16{bits[i + k]});
  }
  for (; i < count; ++i) out[i] = to_float(Bf16{bits[i]});
}

void to_halves(std::span<const float> values, std::uint16_t* out) { convert(values, out, float_to_half); }

void from_halves(std::span<const std::uint16_t> halves, float* out) { convert(halves, out, half_to_float); }

}  // namespace shori
