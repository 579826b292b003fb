#include "src/model/weights/refuse_value.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

void refuse_value(const HfTensor& tensor, std::int64_t element, float value) {
  const char* kind = std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
  throw Error(Diagnostic("E0210", concat("`", tensor.name, "` holds ", kind, " at element ", element))
                  .note(concat("row ", element / tensor.cols(), ", column ", element % tensor.cols()))
                  .help("get the model again from its publisher"));
}

namespace {

// Whether all values of a span are finite. The inner loop has a constant number of steps, so that the compiler makes
// vectors of them.
bool is_finite(std::span<const float> values) {
  constexpr std::size_t kStep = 64;
  std::int32_t largest = 0;  // bits without sign: those of Inf and NaN come after those of all numbers
  std::size_t i = 0;
  for (; i + kStep <= values.size(); i += kStep) {
    for (std::size_t k = 0; k < kStep; ++k) {
      const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(values[i + k]) & 0x7fffffffu);
      largest = bits > largest ? bits : largest;
    }
  }
  return largest < 0x7f800000 &&
         std::ranges::all_of(values.subspan(i), [](float value) { return std::isfinite(value); });
}

}  // namespace

std::optional<std::int64_t> first_non_finite(std::span<const float> values) {
  if (is_finite(values)) return std::nullopt;
  return std::ranges::find_if(values, [](float value) { return !std::isfinite(value); }) - values.begin();
}

void refuse_non_finite(const HfTensor& tensor, std::int64_t first, std::span<const float> values) {
  if (const auto bad = first_non_finite(values))
    refuse_value(tensor, first + *bad, values[static_cast<std::size_t>(*bad)]);
}

}  // namespace shori
