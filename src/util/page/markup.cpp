#include "shori/util/page/markup.h"

#include <cmath>
#include <cstdio>

#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// What stands for the byte; empty: the byte itself.
std::string_view reference(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(c);
  const bool is_control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
  return is_control ? kReplacement : std::string_view();
}

// U+FFFE and U+FFFF are no characters of XML.
bool is_no_character(std::string_view rest) {
  return rest.starts_with("\xef\xbf\xbe") || rest.starts_with("\xef\xbf\xbf");
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  for (;;) {
    const auto bad = find_invalid_utf8(text);
    valid += text.substr(0, bad.value_or(text.size()));
    if (!bad) return valid;
    valid += kReplacement;
    text.remove_prefix(*bad + 1);
  }
}

}  // namespace

std::string escape_markup(std::string_view text) {
  const std::string valid = valid_utf8(text);
  std::string escaped;
  for (std::size_t i = 0; i < valid.size(); ++i) {
    if (is_no_character(std::string_view(valid).substr(i))) {
      escaped += kReplacement;
      i += 2;
      continue;
    }
    const std::string_view instead = reference(valid[i]);
    if (instead.empty())
      escaped += valid[i];
    else
      escaped += instead;
  }
  return escaped;
}

std::string coordinate(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.2f", std::round(value * 100) / 100 + 0.0);
  std::string digits = text;
  while (digits.ends_with('0')) digits.pop_back();
  if (digits.ends_with('.')) digits.pop_back();
  return digits;
}

}  // namespace shori
