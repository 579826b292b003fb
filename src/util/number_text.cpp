#include "shori/util/number_text.h"

#include <algorithm>
#include <charconv>

#include "shori/util/error.h"

namespace shori {

double decimal_of(float value) {
  char digits[32];
  double number = 0;
  std::from_chars(digits, std::to_chars(digits, digits + sizeof digits, value).ptr, number);
  return number;
}

std::string with_commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

std::string ratio_text(std::int64_t numerator, std::int64_t denominator, int digits) {
  SHORI_CHECK(numerator >= 0 && denominator > 0, "a ratio below zero");
  __extension__ using Wide = __int128;
  Wide scale = 1;
  for (int i = 0; i < digits; ++i) scale *= 10;
  const Wide scaled = static_cast<Wide>(numerator) * scale;
  Wide quotient = scaled / denominator;
  const Wide twice = 2 * (scaled % denominator);
  if (twice > denominator || (twice == denominator && quotient % 2 == 1)) ++quotient;
  std::string fraction = std::to_string(static_cast<std::int64_t>(quotient % scale));
  fraction.insert(0, static_cast<std::size_t>(digits) - std::min(fraction.size(), static_cast<std::size_t>(digits)),
                  '0');
  const std::string whole = with_commas(static_cast<std::int64_t>(quotient / scale));
  return digits == 0 ? whole : whole + "." + fraction;
}

std::string percent_text(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? "0.0" : ratio_text(100 * part, whole, 1);
}

}  // namespace shori
