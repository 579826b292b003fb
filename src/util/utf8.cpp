#include "shori/util/utf8.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "shori/util/text.h"

namespace shori {
namespace {

unsigned char byte_at(std::string_view text, std::size_t offset) { return static_cast<unsigned char>(text[offset]); }

bool is_continuation(unsigned char byte) { return (byte & 0xc0) == 0x80; }

// Length of the well-formed sequence at `offset`, 0 if there is none. The second byte's range is what rules out
// overlong forms, surrogates and values above U+10FFFF (Unicode Standard, table 3-7).
std::size_t sequence_length(std::string_view text, std::size_t offset) {
  const unsigned char first = byte_at(text, offset);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (text.size() - offset < length) return 0;
  unsigned char low = 0x80, high = 0xbf;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  const unsigned char second = byte_at(text, offset + 1);
  if (second < low || second > high) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if (!is_continuation(byte_at(text, offset + i))) return 0;
  return length;
}

bool is_hidden(std::uint32_t value) {
  const bool direction = (value >= 0x202a && value <= 0x202e) || (value >= 0x2066 && value <= 0x2069);
  return is_control_character(value) || direction;
}

std::string escape(std::uint32_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = value < 0x100 ? "\\x" : "\\u";
  for (int shift = value < 0x100 ? 4 : 12; shift >= 0; shift -= 4) out += kDigits[(value >> shift) & 15];
  return out;
}

// Letters in lower case, '-' as '_'.
std::string folded(std::string_view name) {
  std::string out = lower_ascii(name);
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    // Eight ASCII bytes at a time: most text is.
    std::uint64_t word;
    if (text.size() - offset >= sizeof word) {
      std::memcpy(&word, text.data() + offset, sizeof word);
      if ((word & 0x8080808080808080u) == 0) {
        offset += sizeof word;
        continue;
      }
    }
    const std::size_t length = sequence_length(text, offset);
    if (length == 0) return offset;
    offset += length;
  }
  return std::nullopt;
}

bool is_begin_of_character(std::string_view bytes) {
  const unsigned char first = byte_at(bytes, 0);
  const std::size_t size = first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1;
  if (bytes.size() >= size) return false;
  // Only the second byte has limits of its own; the lowest and the highest that it can be decide.
  for (const char second : {'\x80', '\x8F', '\x90', '\x9F', '\xA0', '\xBF'}) {
    std::string whole(bytes);
    if (whole.size() == 1) whole += second;
    whole.resize(size, '\x80');
    if (!find_invalid_utf8(whole)) return true;
  }
  return false;
}

std::size_t count_code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(static_cast<unsigned char>(c)); }));
}

CodePoint code_point_beyond_ascii(std::string_view text, std::size_t offset) {
  const std::size_t length = sequence_length(text, offset);
  if (length <= 1) return {byte_at(text, offset), 1};
  std::uint32_t value = byte_at(text, offset) & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) value = (value << 6) | (byte_at(text, offset + i) & 0x3f);
  return {value, length};
}

void append_utf8(std::string& out, std::uint32_t value) {
  // A continuation byte: the six bits of `value` from `shift` on.
  const auto tail = [&out, value](int shift) { out += static_cast<char>(0x80 | ((value >> shift) & 0x3f)); };
  if (value < 0x80) {
    out += static_cast<char>(value);
  } else if (value < 0x800) {
    out += static_cast<char>(0xc0 | (value >> 6));
    tail(0);
  } else if (value < 0x10000) {
    out += static_cast<char>(0xe0 | (value >> 12));
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xf0 | (value >> 18));
    tail(12), tail(6), tail(0);
  }
}

TextPosition position_of(std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const std::size_t newline = before.rfind('\n');
  const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
  const std::size_t end = std::min(text.find('\n', offset), text.size());
  return {static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
          count_code_points(before.substr(begin)) + 1, text.substr(begin, end - begin)};
}

std::string escape_for_log(std::string_view text, std::size_t max_code_points) {
  std::string out;
  std::size_t count = 0;
  for (std::size_t offset = 0; offset < text.size(); ++count) {
    if (count == max_code_points) return out + "...";
    const bool valid = sequence_length(text, offset) > 0;
    const CodePoint point = code_point_at(text, offset);
    if (!valid || is_hidden(point.value))
      out += escape(point.value);
    else
      out += text.substr(offset, point.bytes);
    offset += point.bytes;
  }
  return out;
}

bool is_similar_name(std::string_view name, std::string_view candidate, int& distance) {
  constexpr std::size_t kMaxName = 256;
  if (name.empty() || name.size() > kMaxName || candidate.size() > kMaxName) return false;
  const std::string a = folded(name), b = folded(candidate);
  distance = a == b ? 0 : edit_distance(name, candidate);
  // Two names of two letters are always within two edits, so a part of the name must remain.
  if (distance <= 2 && distance < static_cast<int>(std::max(name.size(), candidate.size()))) return true;
  std::string letters_a = a, letters_b = b;
  std::sort(letters_a.begin(), letters_a.end());
  std::sort(letters_b.begin(), letters_b.end());
  return letters_a == letters_b;
}

}  // namespace shori
