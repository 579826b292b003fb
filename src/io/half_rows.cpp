#include "shori/io/half_rows.h"

#include <algorithm>

#include "shori/io/half.h"

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

void to_halves(std::span<const float> values, std::uint16_t* out) {
  static const bool converts = has_conversion();
  const std::size_t done = converts ? convert_groups(values, out) : 0;
  std::transform(values.begin() + static_cast<std::ptrdiff_t>(done), values.end(), out + done, float_to_half);
}

}  // namespace shori
