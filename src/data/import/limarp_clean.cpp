// LimaRP's cleaning of prose. Code points, no regular expressions; each rule is one pass from left to right.
#include <utility>

#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::size_t kMaxDots = 8;

// Letters and digits; of other scripts all but punctuation, symbols and emoji.
bool is_word(std::uint32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  if (c < 0xC0 || c == 0xD7 || c == 0xF7) return c == 0xAA || c == 0xB5 || c == 0xBA;
  const bool punctuation = (c >= 0x2000 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x303F && c != 0x3005) ||
                           (c >= 0xFF00 && c <= 0xFF0F) || (c >= 0xFE10 && c <= 0xFE6F);
  return !punctuation && c < 0x1F000;
}

bool ends_in_word(std::string_view text) {
  if (text.empty()) return false;
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return is_word(code_point_at(text, begin).value);
}

bool begins_with_word(std::string_view text) { return !text.empty() && is_word(code_point_at(text, 0).value); }

std::size_t run_length(std::string_view text, std::size_t begin, char c) {
  const std::size_t end = text.find_first_not_of(c, begin);
  return (end == std::string_view::npos ? text.size() : end) - begin;
}

std::string clean_spaces(std::string_view text, ChangeCounts& changes) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != ' ') {
      out.push_back(text[i++]);
      continue;
    }
    const std::size_t length = run_length(text, i, ' ');
    i += length;
    if (length > 1) count_change(changes, "clean: runs of spaces made one");
    const bool before_mark = i < text.size() && (text[i] == '!' || text[i] == '?');
    if (before_mark) count_change(changes, "clean: space before ! or ? removed");
    if (!before_mark) out.push_back(' ');
  }
  return out;
}

std::string_view ascii_for(std::uint32_t c) {
  switch (c) {
    case 0x2018:
    case 0x2019:
    case 0x201A:
      return "'";
    case 0x201C:
    case 0x201D:
    case 0x201E:
    case 0x00AB:
    case 0x00BB:
      return "\"";
    case 0x2026:
      return "...";
    default:
      return {};
  }
}

std::string clean_quotes(std::string_view text, ChangeCounts& changes) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = code_point_at(text, i);
    const std::string_view ascii = ascii_for(point.value);
    if (ascii.empty()) {
      out.append(text.substr(i, point.bytes));
    } else {
      out.append(ascii);
      count_change(changes, ascii == "..." ? "clean: … made ..." : "clean: curly quotes made ASCII");
    }
    i += point.bytes;
  }
  return out;
}

// Runs of exactly three hyphens, and of dots.
std::string clean_marks(std::string_view text, ChangeCounts& changes) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c != '-' && c != '.') {
      out.push_back(c);
      ++i;
      continue;
    }
    const std::size_t length = run_length(text, i, c);
    const bool after_word = ends_in_word(out), before_word = begins_with_word(text.substr(i + length));
    i += length;
    if (c == '-' && length == 3) {
      out.append("\u2014");
      count_change(changes, "clean: --- made —");
    } else if (c == '.' && after_word && before_word && length >= 2 && length <= kMaxDots) {
      out.append("... ");
      count_change(changes, "clean: dots between words made ... and a space");
    } else if (c == '.' && after_word && length > 3 && length <= kMaxDots) {
      out.append("...");
      count_change(changes, "clean: dots after a word made ...");
    } else {
      out.append(length, c);
    }
  }
  return out;
}

}  // namespace

std::string limarp_clean(std::string_view text, ChangeCounts& changes) {
  return clean_marks(clean_quotes(clean_spaces(text, changes), changes), changes);
}

}  // namespace shori
