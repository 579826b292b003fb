// What the rules and the fixes share: spans of a text, and the runs that a fix replaces.
#include "shori/util/text.h"

#include <algorithm>
#include <array>

#include "shori/util/utf8.h"
#include "src/data/blockml/text_problem.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

struct CurlyQuote {
  std::string_view curly, ascii;
};
constexpr std::array<CurlyQuote, 8> kCurlyQuotes = {{{"\xE2\x80\x98", "'"},
                                                     {"\xE2\x80\x99", "'"},
                                                     {"\xE2\x80\x9A", "'"},
                                                     {"\xE2\x80\x9C", "\""},
                                                     {"\xE2\x80\x9D", "\""},
                                                     {"\xE2\x80\x9E", "\""},
                                                     {"\xC2\xAB", "\""},
                                                     {"\xC2\xBB", "\""}}};

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t") == kNotFound; }

// For each bracket `(` or `[`, in order: its offset and that of the bracket that closes it, npos if none does. Linear.
std::vector<std::pair<std::size_t, std::size_t>> bracket_pairs(std::string_view text) {
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  std::vector<std::size_t> round, square;  // open ones, as indices into pairs
  constexpr auto find_bracket = find_mark<'(', ')', '[', ']'>;
  for (std::size_t at = find_bracket(text, 0); at != kNotFound; at = find_bracket(text, at + 1)) {
    std::vector<std::size_t>& open = text[at] == '(' || text[at] == ')' ? round : square;
    if (text[at] == '(' || text[at] == '[') {
      open.push_back(pairs.size());
      pairs.push_back({at, kNotFound});
    } else if (!open.empty()) {
      pairs[open.back()].second = at;
      open.pop_back();
    }
  }
  return pairs;
}

bool starts_with_folded(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && lower_ascii(text.substr(0, lower.size())) == lower;
}

TextSpan trimmed(std::string_view text, TextSpan span) {
  while (span.begin < span.end && is_blockml_space(text[span.begin])) ++span.begin;
  while (span.begin < span.end && is_blockml_space(text[span.end - 1])) --span.end;
  return span;
}

// At the bracket `open`: what kind of talk begins there, and where its text does.
std::optional<std::size_t> ooc_text_begin(std::string_view body, std::size_t open) {
  const std::string_view rest = body.substr(open + 1);
  if (starts_with_folded(rest, "ooc:")) return open + 5;
  if (body[open] == '[' && starts_with_folded(rest, "ooc") && rest.size() > 3 && (rest[3] == ' ' || rest[3] == ']'))
    return open + 4;
  if (body[open] == '(' && rest.starts_with('(')) return open + 2;
  return std::nullopt;
}

}  // namespace

FencedText blank_fences(std::string_view body) {
  constexpr std::size_t kFence = 3;
  FencedText result;
  std::size_t open = kNotFound, ticks = 0;
  for (std::size_t at = body.find('`'); at != kNotFound; at = body.find('`', at)) {
    const std::size_t run = run_length(body, at, '`');
    if (run >= kFence && open == kNotFound) {
      open = at;
      ticks = run;
    } else if (run >= kFence && run >= ticks) {
      if (result.blanked.empty()) result.blanked = body;
      std::fill(result.blanked.begin() + static_cast<std::ptrdiff_t>(open),
                result.blanked.begin() + static_cast<std::ptrdiff_t>(at + run), kBlanked);
      const std::size_t line_end = std::min(body.find('\n', at), body.size());
      if (!is_blank(body.substr(at + run, line_end - at - run))) result.after_close.push_back({at + run, line_end});
      open = kNotFound;
    }
    at += run;
  }
  if (open != kNotFound) result.open = TextSpan{open, open + ticks};
  return result;
}

LintedText::LintedText(std::string_view text)
    : body(text), lower(lower_ascii(text)), fenced(blank_fences(text)), bytes(lower) {}

std::vector<TextSpan> lines_of(std::string_view text) {
  std::vector<TextSpan> lines;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back({begin, end});
    begin = end + 1;
  }
  return lines;
}

std::vector<TextSpan> paragraphs_of(std::string_view text) {
  std::vector<TextSpan> paragraphs;
  bool inside = false;
  for (const TextSpan& line : lines_of(text)) {
    const bool blank = is_blank(text.substr(line.begin, line.end - line.begin));
    if (!blank && inside) paragraphs.back().end = line.end;
    if (!blank && !inside) paragraphs.push_back(line);
    inside = !blank;
  }
  return paragraphs;
}

std::size_t run_length(std::string_view text, std::size_t begin, char c) {
  return std::min(text.find_first_not_of(c, begin), text.size()) - begin;
}

// By blocks: scripts are letters, punctuation, symbols and pictures are not.
bool is_word_beyond_ascii(char32_t value) {
  if (value < 0x250)
    return value == 0xAA || value == 0xB5 || value == 0xBA || (value >= 0xC0 && value != 0xD7 && value != 0xF7);
  if (value >= 0x2000 && value < 0x2C00) return value >= 0x2070 && value < 0x20A0;
  if (value >= 0x2E00 && value < 0x2E80) return false;
  if (value >= 0x3000 && value < 0x3040) return value == 0x3005 || value == 0x3007;
  if (value >= 0xE000 && value < 0xF900) return false;
  if (value >= 0xFE00 && value < 0xFE70) return false;
  if (value >= 0xFF00 && value < 0xFF10) return false;
  return value < 0x1F000 || value >= 0x20000;
}

char32_t code_point_before(std::string_view text, std::size_t offset) {
  return offset == 0 ? 0 : code_point_at(text, code_point_start(text, offset - 1)).value;
}

char32_t code_point_after(std::string_view text, std::size_t offset) {
  return offset >= text.size() ? 0 : code_point_at(text, offset).value;
}

std::vector<InlineOoc> find_inline_ooc(std::string_view body) {
  std::vector<InlineOoc> found;
  const auto pairs = bracket_pairs(body);
  std::size_t free = 0;  // after the last one found
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [open, close] = pairs[i];
    const std::optional<std::size_t> begin = ooc_text_begin(body, open);
    if (!begin || close == kNotFound || open < free) continue;
    const bool doubled = body[open] == '(' && body[open + 1] == '(';
    if (doubled && pairs[i + 1].second != close - 1) continue;
    const std::size_t end = doubled ? close - 1 : close;
    const TextSpan inner = trimmed(body, {std::min(*begin, end), end});
    if (inner.begin == inner.end) continue;
    free = close + 1;
    found.push_back({{open, free}, inner});
  }
  return found;
}

std::optional<TextSpan> find_ellipsis(std::string_view text, std::size_t from) {
  constexpr auto find_begin = find_mark<'.', kEllipsis.front()>;
  for (std::size_t begin = find_begin(text, from); begin != kNotFound; begin = find_begin(text, begin)) {
    std::size_t end = begin, dots = 0, characters = 0;
    while (end < text.size()) {
      if (text[end] == '.') {
        ++end;
        ++dots;
      } else if (text.substr(end).starts_with(kEllipsis)) {
        end += kEllipsis.size();
        ++characters;
      } else {
        break;
      }
    }
    if (characters > 0 || dots > 3) return TextSpan{begin, end};
    begin = std::max(end, begin + 1);
  }
  return std::nullopt;
}

std::optional<SpaceRun> find_spacing(std::string_view text, std::size_t from) {
  for (std::size_t begin = text.find(' ', from); begin != kNotFound; begin = text.find(' ', begin)) {
    const std::size_t end = begin + run_length(text, begin, ' ');
    const bool inside = begin > 0 && text[begin - 1] != '\n' && end < text.size() && text[end] != '\n';
    // The space after the `>` of a quoted line belongs to it.
    const bool after_quote = inside && text[begin - 1] == '>' && (begin == 1 || text[begin - 2] == '\n');
    const bool before_mark = inside && !after_quote && (text[end] == '!' || text[end] == '?');
    if (inside && (end - begin > 1 || before_mark)) return SpaceRun{{begin, end}, before_mark ? "" : " "};
    begin = end;
  }
  return std::nullopt;
}

std::string_view ascii_quote(std::string_view text, std::size_t at) {
  for (const CurlyQuote& quote : kCurlyQuotes) {
    if (text.substr(at).starts_with(quote.curly)) return quote.ascii;
  }
  return {};
}

}  // namespace shori
