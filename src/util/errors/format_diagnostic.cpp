// A diagnostic as text, in the form of rustc's: code and message, location, the user's own line with carets under the
// span, notes, helps.
#include <algorithm>

#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kNoCut = static_cast<std::size_t>(-1);
constexpr std::size_t kLineWindow = 110;  // code points of the source line that are shown
constexpr std::size_t kBeforeCaret = 60;  // at most this many of them left of the caret

// Byte offset of code point number `index` (0-based), or the size; safe on ill-formed text.
std::size_t offset_of_code_point(std::string_view text, std::size_t index) {
  std::size_t offset = 0;
  while (index > 0 && offset < text.size()) {
    ++offset;
    while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80) ++offset;
    --index;
  }
  return offset;
}

// Text as it is shown on a terminal: a tab as one space, other control characters escaped.
std::string visible(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\t', ' ');
  return escape_for_log(line, kNoCut);
}

// The source line, cut to a window around the span, and the line of spaces and carets under it.
struct ShownLine {
  std::string text;
  std::string carets;
};

ShownLine show_line(const SourceLocation& location) {
  const std::size_t column = std::max<std::size_t>(location.column, 1) - 1;
  const std::size_t begin = column > kBeforeCaret ? column - kBeforeCaret : 0;
  const std::size_t end = begin + kLineWindow;
  const std::size_t span_end =
      std::clamp(location.end_column > 0 ? location.end_column - 1 : column + 1, column + 1, end);
  const std::string_view line = location.source_line;
  const auto slice = [line](std::size_t from, std::size_t to) {
    const std::size_t first = offset_of_code_point(line, from);
    return visible(line.substr(first, offset_of_code_point(line, to) - first));
  };
  const std::string head = (begin > 0 ? "..." : "") + slice(begin, column);
  const std::string span = slice(column, span_end);
  const bool cut = offset_of_code_point(line, end) < line.size();
  return {
      head + span + slice(span_end, end) + (cut ? "..." : ""),
      std::string(count_code_points(head), ' ') + std::string(std::max<std::size_t>(count_code_points(span), 1), '^')};
}

// A note or help; further lines of a text are aligned with its first.
void append_item(std::string& out, const std::string& margin, const std::string& label, const std::string& text) {
  const std::string indent = margin + std::string(label.size() + 4, ' ');
  std::string line = margin + " = " + label + ": ";
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find('\n', begin);
    out += line + visible(std::string_view(text).substr(begin, end - begin)) + '\n';
    if (end == std::string::npos) return;
    begin = end + 1;
    line = indent + ' ';
  }
}

bool is_lint(const Diagnostic& diagnostic) {
  return !diagnostic.rule.empty() && diagnostic.severity != Severity::kError;
}

void append_location(std::string& out, const std::string& margin, const Diagnostic& diagnostic) {
  const SourceLocation& location = diagnostic.location;
  if (location.file.empty()) return;
  out += margin + "--> " + visible(location.file);
  if (location.line > 0) out += concat(':', location.line);
  if (location.line > 0 && location.column > 0) out += concat(':', location.column);
  out += '\n';
  if (location.line == 0 || location.source_line.empty()) return;
  const ShownLine shown = show_line(location);
  const std::string number = std::to_string(location.line);
  out += margin + " |\n";
  out += std::string(margin.size() - number.size(), ' ') + number + " | " + shown.text + '\n';
  if (location.column == 0) return;
  // The title of W0304 is the same for every rule.
  out += margin + " | " + shown.carets;
  if (!is_lint(diagnostic)) out += concat(' ', find_error_info(diagnostic.code)->title);
  out += '\n';
}

}  // namespace

std::string format_diagnostic(const Diagnostic& diagnostic) {
  const std::string margin(std::max<std::size_t>(2, std::to_string(diagnostic.location.line).size()), ' ');
  std::string out(severity_name(diagnostic.severity));
  out += "[" + diagnostic.code + "]: " + visible(diagnostic.message) + '\n';
  append_location(out, margin, diagnostic);
  for (const std::string& text : diagnostic.notes) append_item(out, margin, "note", text);
  for (const std::string& text : diagnostic.helps) append_item(out, margin, "help", text);
  if (!is_lint(diagnostic))
    append_item(out, margin, "explain", concat(program_command("shori-train"), " --explain ", diagnostic.code));
  return out;
}

}  // namespace shori
