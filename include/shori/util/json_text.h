// Writing JSON. A text is built as a tree of nlohmann's ordered_json, which keeps its keys in the order of insertion,
// and printed here:
//   Json line = {{"step", step}, {"loss", loss}};
//   file << json_text(line);
// nlohmann's own dump() is used for single strings and integers only, because it prints doubles by fixed rules
// ("0.0001", "100000.0") where our files have the shortest of all forms ("1e-04", "1e+05"), and those bytes are hashed.
//
// Sources that build or take apart a Json include <nlohmann/json.hpp> as well.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace shori {

using Json = nlohmann::ordered_json;

// Without white space (indent 0) or with one item per line, `indent` spaces per level. Doubles as format_double()
// writes them. A byte of a string that is not UTF-8 becomes U+FFFD.
std::string json_text(const Json& value, int indent = 0);

// The form whose bytes are hashed and compared: no white space, keys sorted by their bytes, doubles as strings of
// double_bits_hex().
std::string canonical_json(const Json& value);

// A string, or null where it is empty.
Json text_or_null(std::string_view text);

// A value that is JSON text already and is printed as it is, also inside an indented text.
Json raw_json(std::string_view text);

// `text` as a JSON string literal: `"`, `\` and control characters are escaped, everything else is kept.
std::string json_quote(std::string_view text);

// The shortest decimal number that reads back as `number`, always with a point or an exponent: "1.0", "7.25e-05". A
// number that is not finite is an internal error.
std::string format_double(double number);

// The IEEE-754 bits as 16 lower-case hex digits, most significant first.
std::string double_bits_hex(double number);
// The inverse; nullopt if `hex` is anything but 16 such digits.
std::optional<double> double_from_bits_hex(std::string_view hex);

}  // namespace shori
