// Numbers as people read them. Exact: no floating point, no locale.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "shori/util/text.h"

namespace shori {

std::string with_commas(std::int64_t number);  // "4,799,646"

// "1 step", "2 steps": for a noun whose plural ends in s.
template <std::integral Number>
std::string counted(Number number, std::string_view noun) {
  return concat(number, ' ', noun, number == 1 ? "" : "s");
}

// numerator / denominator with `digits` digits after the point and commas before it. The exact quotient is rounded half
// to even: ratio_text(18'350'000, 1'000'000, 1) is "18.4". numerator >= 0, denominator > 0.
std::string ratio_text(std::int64_t numerator, std::int64_t denominator, int digits);

// 100 * part / whole with one digit after the point and no percent sign; "0.0" if whole is 0.
std::string percent_text(std::int64_t part, std::int64_t whole);

}  // namespace shori
