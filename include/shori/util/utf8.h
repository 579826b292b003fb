// Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shori {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // of UTF-8

// Byte offset of the first byte that is not part of a well-formed sequence; nullopt if the whole text is valid.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);
// Whether `bytes`, which are not empty, are a part of one character from its first byte on, and more are to come.
bool is_begin_of_character(std::string_view bytes);
// Number of code points; the text must be valid.
std::size_t count_code_points(std::string_view text);
// The code point that starts at `offset` (valid text) and its length in bytes.
struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;
};
CodePoint code_point_beyond_ascii(std::string_view text, std::size_t offset);
inline CodePoint code_point_at(std::string_view text, std::size_t offset) {
  const auto byte = static_cast<unsigned char>(text[offset]);
  return byte < 0x80 ? CodePoint{byte, 1} : code_point_beyond_ascii(text, offset);
}
// Appends the code point `value` as UTF-8.
void append_utf8(std::string& out, std::uint32_t value);

// 1-based line and column (in code points) of a byte offset; `line_text` is that line without its newline.
struct TextPosition {
  std::size_t line;
  std::size_t column;
  std::string_view line_text;
};
TextPosition position_of(std::string_view text, std::size_t offset);

// C0 and C1 controls and DEL.
constexpr bool is_control_character(std::uint32_t value) { return value < 0x20 || (value >= 0x7f && value < 0xa0); }

// For terminals and logs: C0 and C1 controls, U+202A-202E, U+2066-2069 and invalid bytes as visible escapes (\x1b,
// \u202e). A longer text is cut to `max_code_points`, and "..." follows.
std::string escape_for_log(std::string_view text, std::size_t max_code_points = 80);

// Of `names`, the one a user most likely meant: equal after folding case and '-'/'_', the same letters, or
// Damerau-Levenshtein distance <= 2 (closest first, then alphabetical). Empty if there is none.
template <typename Range>
std::string find_similar_name(std::string_view name, const Range& names);

bool is_similar_name(std::string_view name, std::string_view candidate, int& distance);

template <typename Range>
std::string find_similar_name(std::string_view name, const Range& names) {
  std::string best;
  int best_distance = 1 << 20;
  for (const auto& candidate : names) {
    int distance = 0;
    if (!is_similar_name(name, candidate, distance)) continue;
    if (distance < best_distance || (distance == best_distance && std::string_view(candidate) < best)) {
      best = std::string(candidate);
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace shori
