// Numbers as people read them. Exact: no floating point, no locale.
#pragma once

#include <cstdint>
#include <string>

namespace shori {

std::string with_commas(std::int64_t number);  // "4,799,646"

// numerator / denominator with `digits` digits behind the point and commas before it, rounded half to even on the exact
// quotient: ratio_text(18'350'000, 1'000'000, 1) is "18.4". numerator >= 0, denominator > 0.
std::string ratio_text(std::int64_t numerator, std::int64_t denominator, int digits);

// 100 * part / whole as ratio_text(…, 1), without the sign; "0.0" of nothing.
std::string percent_text(std::int64_t part, std::int64_t whole);

}  // namespace shori
