// Elements of JSONL files and of JSON arrays, read in chunks: only an element has to fit into memory, not the file.
#include <algorithm>

#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"
#include "src/data/sources/jsonl.h"

namespace shori {
namespace {

constexpr int kDepth = 16;
constexpr std::size_t kMaxValues = 1'000'000;  // of one conversation: bounds the memory of its tree
constexpr std::size_t kShownLine = 4096;

bool is_json_space(int c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string hex_byte(char c) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(c);
  return {kDigits[byte >> 4], kDigits[byte & 15]};
}

}  // namespace

SourceLocation JsonElement::location(const std::string& file, std::size_t offset) const {
  SourceLocation where;
  where.file = file;
  where.line = line;
  where.column = column;
  for (const char c : std::string_view(text).substr(0, offset)) {
    if (c == '\n') {
      ++where.line;
      where.column = 1;
    } else if ((c & 0xC0) != 0x80) {
      ++where.column;
    }
  }
  const bool whole_line = column == 1 && text.size() <= kShownLine && text.find('\n') == std::string::npos;
  if (whole_line && !find_invalid_utf8(text)) where.source_line = text;
  return where;
}

int JsonElements::peek() {
  while (used_ == buffer_.size()) {
    throw_if_stop_requested();
    buffer_.clear();
    used_ = 0;
    if (!stream_.read(buffer_)) return -1;
  }
  return static_cast<unsigned char>(buffer_[used_]);
}

void JsonElements::take() {
  const char c = buffer_[used_++];
  if (c == '\n') {
    ++line_;
    column_ = 1;
  } else if ((c & 0xC0) != 0x80) {
    ++column_;
  }
}

bool JsonElements::fail(const std::string& message) {
  Diagnostic problem("E0312", message);
  file_.diagnostics.add(problem.at(file_.path, line_, column_).help("the file is one JSON array of objects, or JSONL"));
  return false;
}

JsonElements::~JsonElements() {
  TextChanges changes = stream_.changes();
  count_of(changes, TextChange::kBlankLine) += blank_lines_;
  count_text_changes(file_.report.changes, changes);
}

void JsonElements::skip_space() {
  while (is_json_space(peek())) take();
}

void JsonElements::begin() {
  begun_ = true;
  std::optional<JsonForm> form;
  while (!form && buffer_.size() <= kMaxLine && stream_.read(buffer_)) form = json_form(buffer_);
  form_ = form.value_or(JsonForm::kLines);
}

bool JsonElements::next(JsonElement& element) {
  const bool first = !begun_;
  if (first) begin();
  if (form_ == JsonForm::kLines) return next_line(element);
  skip_space();
  if (form_ == JsonForm::kSpread)
    return peek() < 0 ? false : peek() == '{' ? scan_item(element) : fail("expected an object");
  if (first) {
    take();
    return next_item(element);
  }
  if (peek() == ']') return next_item(element);
  if (peek() != ',') return fail(peek() < 0 ? "the array is not closed" : "expected `,` or `]`");
  take();
  skip_space();
  return peek() == ']' ? fail("expected an object") : next_item(element);
}

bool JsonElements::next_line(JsonElement& element) {
  while (read_line(element)) {
    if (!is_blank_line(element.text)) return true;
    ++blank_lines_;
  }
  return false;
}

bool JsonElements::read_line(JsonElement& element) {
  if (peek() < 0) return false;
  element.text.clear();
  element.line = line_;
  element.column = 1;
  while (peek() >= 0) {
    const std::string_view rest = std::string_view(buffer_).substr(used_);
    const std::size_t end = rest.find('\n');
    element.text.append(rest.substr(0, end));
    if (element.text.size() > kMaxLine) {
      file_.diagnostics.add(
          Diagnostic("E0317", "the line is longer than 64 MiB").at(file_.path, line_).help("split the file"));
      return false;
    }
    if (end == std::string_view::npos) {
      used_ = buffer_.size();
      continue;
    }
    used_ += end + 1;
    ++line_;
    break;
  }
  return true;
}

bool JsonElements::next_item(JsonElement& element) {
  skip_space();
  if (peek() == ']') {
    take();
    skip_space();
    return peek() < 0 ? false : fail("text after the array");
  }
  if (peek() < 0) return fail("the array is not closed");
  if (peek() != '{') return fail("expected an object");
  return scan_item(element);
}

// Reads to the brace that closes the object; parse_element() checks what is inside.
bool JsonElements::scan_item(JsonElement& element) {
  element.text.clear();
  element.line = line_;
  element.column = column_;
  std::size_t depth = 0;
  bool in_string = false, escaped = false;
  for (int c = peek(); c >= 0; c = peek()) {
    element.text.push_back(static_cast<char>(c));
    if (element.text.size() > kMaxLine) {
      file_.diagnostics.add(Diagnostic("E0317", "the object is larger than 64 MiB")
                                .at(file_.path, element.line, element.column)
                                .help("split the file"));
      return false;
    }
    take();
    if (in_string) {
      in_string = escaped || c != '"';
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return true;
    }
  }
  return fail(concat("the object that begins at ", element.line, ':', element.column, " is not closed"));
}

void add_json_problem(ImportFile& file, const JsonElement& element, std::size_t offset, std::string message,
                      std::string_view example) {
  file.diagnostics.add(Diagnostic("E0312", std::move(message))
                           .at(element.location(file.path, offset))
                           .help("wanted: " + std::string(example)));
}

std::optional<JsonValue> parse_element(ImportFile& file, const JsonElement& element, std::string_view example) {
  if (const auto bad = find_invalid_utf8(element.text)) {
    const std::string hex = hex_byte(element.text[*bad]);
    file.diagnostics.add(Diagnostic("E0304", concat("byte 0x", hex, " is not UTF-8"))
                             .at(element.location(file.path, *bad))
                             .help(utf8_command(file.path, element.text)));
    return std::nullopt;
  }
  if (const std::size_t nul = element.text.find('\0'); nul != std::string::npos) {
    file.diagnostics.add(Diagnostic("E0304", "control character U+0000")
                             .at(element.location(file.path, nul))
                             .note("byte 0x00")
                             .help(control_command(file.path)));
    return std::nullopt;
  }
  JsonProblem problem;
  JsonRepairs repairs{.drops_nul = true};
  std::optional<JsonValue> value = parse_json(element.text, {kMaxLine, kDepth, kMaxValues}, problem, &repairs);
  count_change(file.report.changes, text_change_name(TextChange::kHalf), repairs.halves);
  count_change(file.report.changes, "control characters deleted", repairs.nuls);
  if (!value) {
    const std::string command = json_command(file.path, element.text, problem.offset);
    Diagnostic shown("E0312", escape_for_log(problem.message, 200));
    file.diagnostics.add(shown.at(element.location(file.path, problem.offset))
                             .help(command.empty() ? "wanted: " + std::string(example) : command));
  } else if (!value->is_object()) {
    add_json_problem(file, element, value->offset, "not an object", example);
    value.reset();
  }
  return value;
}

}  // namespace shori
