#include "shori/util/error.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "shori/util/build_info.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kMaxErrors = 50;
constexpr std::size_t kNoCut = static_cast<std::size_t>(-1);

// The exit code of a run that only warnings make fail (`warnings_as_errors`): that of the errors of their family.
int exit_code_of_family(const std::string& code) {
  const std::string family = code.substr(1, 2);
  if (family == "02" || family == "03") return 3;
  if (family == "05" || family == "08") return 4;
  if (family == "04" || family == "07") return 5;
  return family == "06" ? 6 : 2;
}

// Equal for equal code, location and message. The parts have no NUL.
std::string key_of(const Diagnostic& diagnostic) {
  const SourceLocation& location = diagnostic.location;
  return concat(diagnostic.code, '\0', location.file, '\0', location.line, '\0', location.column, '\0',
                diagnostic.message);
}

bool same_message(const Diagnostic& a, const Diagnostic& b) {
  return a.code == b.code && a.location.line == b.location.line && a.location.column == b.location.column &&
         a.location.file == b.location.file && a.message == b.message;
}

}  // namespace

Diagnostic::Diagnostic(std::string_view error_code, std::string text)
    : code(error_code),
      message(std::move(text)),
      severity(error_code.starts_with('W') ? Severity::kWarning : Severity::kError) {
  SHORI_CHECK(find_error_info(code), concat("code ", code, " is not in the table of errors: ", message));
}

Diagnostic& Diagnostic::at(SourceLocation where) {
  location = std::move(where);
  return *this;
}

Diagnostic& Diagnostic::at(std::string file, std::size_t line, std::size_t column) {
  location =
      SourceLocation{.file = std::move(file), .line = line, .column = column, .end_column = 0, .source_line = {}};
  return *this;
}

Diagnostic& Diagnostic::note(std::string text) {
  notes.push_back(std::move(text));
  return *this;
}

Diagnostic& Diagnostic::help(std::string text) {
  helps.push_back(std::move(text));
  return *this;
}

SourceLocation location_of(std::string file, std::string_view text, std::size_t offset) {
  const TextPosition position = position_of(text, offset);
  return {std::move(file), position.line, position.column, 0, std::string(position.line_text)};
}

Error::Error(Diagnostic diagnostic) : Error(std::vector<Diagnostic>{std::move(diagnostic)}) {}

Error::Error(std::vector<Diagnostic> diagnostics) : diagnostics_(std::move(diagnostics)) {
  SHORI_CHECK(!diagnostics_.empty(), "an Error without a diagnostic");
  for (const Diagnostic& diagnostic : diagnostics_) {
    if (!what_.empty()) what_ += '\n';
    what_ += diagnostic.code + ": " + diagnostic.message;
  }
}

int Error::exit_code() const {
  for (const Diagnostic& diagnostic : diagnostics_)
    if (const int code = find_error_info(diagnostic.code)->exit_code) return code;
  return exit_code_of_family(code());
}

void Diagnostics::add(const Error& error) {
  for (const Diagnostic& diagnostic : error.diagnostics()) add(diagnostic);
}

void Diagnostics::add(Diagnostic diagnostic) {
  const bool is_error = diagnostic.severity == Severity::kError;
  if (is_error && error_count_ >= kMaxErrors) {
    // No longer remembered, but an error that equals a kept one is still the same error.
    for (const Diagnostic& kept : all_)
      if (same_message(kept, diagnostic)) return;
    ++error_count_;
    ++left_out_;
    return;
  }
  if (!seen_.insert(key_of(diagnostic)).second) return;
  error_count_ += is_error ? 1 : 0;
  all_.push_back(std::move(diagnostic));
}

void Diagnostics::throw_if_errors(bool warnings_too) const {
  if (error_count_ == 0 && !(warnings_too && !all_.empty())) return;
  std::vector<Diagnostic> thrown = all_;
  if (left_out_ > 0) {
    const auto last = std::find_if(thrown.rbegin(), thrown.rend(),
                                   [](const Diagnostic& each) { return each.severity == Severity::kError; });
    last->note(concat("and ", left_out_, " more"));
  }
  throw Error(std::move(thrown));
}

std::string_view severity_name(Severity severity) {
  return severity == Severity::kError ? "error" : severity == Severity::kWarning ? "warning" : "info";
}

std::string diagnostic_to_json(const Diagnostic& diagnostic) {
  const auto escaped = [](const std::string& text) { return escape_for_log(text, kNoCut); };
  const auto escaped_list = [&](const std::vector<std::string>& texts) {
    Json list = Json::array();
    for (const std::string& text : texts) list.push_back(escaped(text));
    return list;
  };
  Json json = {{"code", diagnostic.code},
               {"severity", severity_name(diagnostic.severity)},
               {"message", escaped(diagnostic.message)},
               {"file", escaped(diagnostic.location.file)},
               {"line", diagnostic.location.line},
               {"column", diagnostic.location.column},
               {"end_column", diagnostic.location.end_column},
               {"notes", escaped_list(diagnostic.notes)},
               {"help", escaped_list(diagnostic.helps)},
               {"exit_code", find_error_info(diagnostic.code)->exit_code}};
  if (!diagnostic.rule.empty()) json["rule"] = diagnostic.rule;
  return json_text(json);
}

void internal_error(const char* file, int line, const std::string& detail) {
  const std::string_view path(file);
  const std::string name(path.substr(path.find_last_of('/') + 1));
  throw Error(Diagnostic("E0001", concat("internal error in ", name, ":", line, ": ", detail))
                  .note(concat("build ", build_id()))
                  .help("please report this with the lines above and `run.json`"));
}

}  // namespace shori
