// Checks on the bytes of a text, before anything is read into it.
#include <algorithm>

#include "shori/util/command.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/segment_checks.h"
#include "src/data/blockml/text_problem.h"
#include "src/data/blockml/text_stream.h"

namespace shori {
namespace {

// First byte that is a control character other than TAB and LF (CR included).
std::size_t find_control(std::string_view text) {
  const auto is_control = [](char c) {
    const unsigned char byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F;
  };
  return static_cast<std::size_t>(std::find_if(text.begin(), text.end(), is_control) - text.begin());
}

std::size_t count_lines_with_cr(std::string_view text) {
  std::size_t lines = 0;
  for (std::size_t at = text.find('\r'); at != std::string_view::npos;) {
    ++lines;
    const std::size_t next_line = text.find('\n', at);
    at = next_line == std::string_view::npos ? next_line : text.find('\r', next_line);
  }
  return lines;
}

std::string hex_byte(char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const unsigned char byte = static_cast<unsigned char>(c);
  return {kDigits[byte >> 4], kDigits[byte & 15]};
}

Diagnostic invalid_byte(std::string_view text, std::size_t at, const TextSource& source) {
  const char c = text[at];
  const unsigned char byte = static_cast<unsigned char>(c);
  Diagnostic problem("E0304", concat("byte 0x", hex_byte(c), " is not UTF-8"));
  if (byte >= 0x80 && byte <= 0x9F) problem.note("looks like Windows-1252");
  return problem.help(utf8_command(source.file, text));
}

Diagnostic carriage_return(std::string_view text, const TextSource& source, const TextCursor& cursor) {
  return Diagnostic("E0309", "carriage return (CR) in the text")
      .note(concat("first at ", position_text(source, cursor), "; lines with CR: ", count_lines_with_cr(text)))
      .help(sed_command("'s/\\r$//'", source.file.empty() ? "FILE" : source.file));
}

Diagnostic describe(std::string_view text, std::size_t at, bool invalid, const TextSource& source,
                    const TextCursor& cursor) {
  if (invalid) return invalid_byte(text, at, source);
  if (text.substr(at).starts_with(kByteOrderMark)) {
    return Diagnostic("E0304", "the text begins with a byte order mark")
        .note("bytes EF BB BF (U+FEFF)")
        .help("delete it: " + sed_command("'1s/^\\xEF\\xBB\\xBF//'", source.file));
  }
  if (text[at] == '\r') return carriage_return(text, source, cursor);
  return Diagnostic("E0304", concat("control character U+00", hex_byte(text[at])))
      .note(concat("byte 0x", hex_byte(text[at])))
      .help(source.jsonl_line > 0 ? escape_command(source.file, text[at]) : control_command(source.file));
}

}  // namespace

std::string position_text(const TextSource& source, const TextCursor& cursor) {
  return concat(source.jsonl_line > 0 ? "text " : "", cursor.line(), ':', cursor.column());
}

Diagnostic text_problem(Diagnostic problem, const TextSource& source, const TextCursor& cursor,
                        std::size_t code_points) {
  if (source.jsonl_line > 0) {
    problem.message += concat(" (", position_text(source, cursor), ')');
    return problem.at(source.file, source.jsonl_line);
  }
  SourceLocation location;
  location.file = source.file;
  location.line = cursor.line();
  location.column = cursor.column();
  location.end_column = cursor.column() + code_points;
  location.source_line = cursor.line_text();
  return problem.at(std::move(location));
}

Diagnostic problem_at(std::string_view code, std::string message, std::string_view text, const TextSource& source,
                      std::size_t offset) {
  TextCursor cursor(text);
  cursor.move_to(std::min(offset, text.size()));
  return text_problem(Diagnostic(code, std::move(message)), source, cursor);
}

std::size_t code_point_start(std::string_view text, std::size_t offset) {
  while (offset > 0 && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80) --offset;
  return offset;
}

bool check_text(std::string_view text, const TextSource& source, Diagnostics& diagnostics) {
  TextCursor cursor(text);
  if (text.size() > kConversationBytes) {
    cursor.move_to(code_point_start(text, kConversationBytes));
    diagnostics.add(text_problem(too_large("the conversation is larger than 64 MiB"), source, cursor));
    return false;
  }
  const std::size_t invalid = find_invalid_utf8(text).value_or(text.size());
  const std::size_t other = text.starts_with(kByteOrderMark) ? 0 : find_control(text.substr(0, invalid));
  const std::size_t first = std::min(invalid, other);
  if (first == text.size()) return true;
  cursor.move_to(first);
  diagnostics.add(text_problem(describe(text, first, first == invalid, source, cursor), source, cursor));
  return false;
}

}  // namespace shori
