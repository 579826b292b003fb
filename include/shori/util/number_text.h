// Numbers as people read and write them, whatever the locale. Exact: no floating point, but where the number is one.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shori/util/text.h"

namespace shori {

// The number that all of `text` is in decimal; nullopt for other text and for a number that a Number cannot hold.
template <std::integral Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The decimal number that `value` was written as: 0.07 for 0.07f, whose exact value is 0.070000000298023224.
double decimal_of(float value);

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
