// Errors that a user can cause or fix: how they are collected, shown and turned into an exit code.
//
// Every error has a code, which is a row of error_table(). Code below `cli/` only throws; the programs' main() catches,
// prints, and returns exit_code().
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace shori {

// One row of the table of all codes. `exit_code` is part of the command-line interface.
struct ErrorInfo {
  std::string_view code;         // "E0101", "W0301"
  int exit_code;                 // 0 for warnings and for errors after which the program goes on
  std::string_view title;        // what went wrong, in general words
  std::string_view explanation;  // cause, example, fix, limits: the text of --explain
};

// All codes, ascending. Codes are never reused.
const std::vector<ErrorInfo>& error_table();
// The row of `code`, or nullptr.
const ErrorInfo* find_error_info(std::string_view code);

// kInfo has the code of a warning but never affects the exit status.
enum class Severity { kError, kWarning, kInfo };

// A position in a file. Line and column are 1-based, columns count code points; 0 is unknown. `source_line` is shown
// with carets under the span.
struct SourceLocation {
  std::string file;
  std::size_t line = 0;
  std::size_t column = 0;
  std::size_t end_column = 0;  // one past the last column of the span; 0 = one column
  std::string source_line;
};

// The position of byte `offset` of `text`, the content of `file`, with its line.
SourceLocation location_of(std::string file, std::string_view text, std::size_t offset);

// One message: a code, the cause in one line that can be read alone, where it is, facts (`notes`), and what to do (each
// of the `helps` is one concrete edit). Lower case, no full stop. Chainable, so that a throw reads as one sentence:
//   throw Error(Diagnostic("E0207", "offsets leave a hole of 64 bytes").at(file).help("download the file again"));
struct Diagnostic {
  Diagnostic(std::string_view code, std::string message);

  Diagnostic& at(SourceLocation where);
  Diagnostic& at(std::string file, std::size_t line = 0, std::size_t column = 0);
  Diagnostic& note(std::string text);
  Diagnostic& help(std::string text);

  std::string code;
  std::string message;
  Severity severity = Severity::kError;  // by the first letter of the code
  SourceLocation location;
  std::vector<std::string> notes;
  std::vector<std::string> helps;
  std::string rule;     // of a lint: "prose/thoughts"; else empty
  std::string subject;  // of a lint: the part of the message that names something, so that findings can be joined
};

// Thrown for anything that a user can cause or fix. Has at least one diagnostic.
class Error : public std::exception {
 public:
  explicit Error(Diagnostic diagnostic);
  explicit Error(std::vector<Diagnostic> diagnostics);

  const char* what() const noexcept override { return what_.c_str(); }
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  const std::string& code() const { return diagnostics_.front().code; }
  // The exit code of the first diagnostic with a non-zero one.
  int exit_code() const;

 private:
  std::vector<Diagnostic> diagnostics_;
  std::string what_;
};

// Collects diagnostics, so that one run reports all problems. Keeps every warning and at most 50 errors; further errors
// are counted ("and N more"). The same code, location and message is kept once.
class Diagnostics {
 public:
  void add(Diagnostic diagnostic);
  void add(const Error& error);  // all of its diagnostics
  bool has_errors() const { return error_count_ > 0; }
  std::size_t error_count() const { return error_count_; }
  const std::vector<Diagnostic>& all() const { return all_; }
  // Throws Error with everything collected if there is an error (or, with `warnings_too`, anything at all).
  void throw_if_errors(bool warnings_too = false) const;

 private:
  std::vector<Diagnostic> all_;
  std::unordered_set<std::string> seen_;  // code, location and message of each
  std::size_t error_count_ = 0;
  std::size_t left_out_ = 0;
};

// One message in the form of rustc's: code, location, source line with carets, notes, helps. Ends with a newline.
std::string format_diagnostic(const Diagnostic& diagnostic);
std::string_view severity_name(Severity severity);  // "error", "warning", "info"
// One JSON object without a newline: code, severity, message, file, line, column, end_column, notes[], help[],
// exit_code, and `rule` for a lint.
std::string diagnostic_to_json(const Diagnostic& diagnostic);

// A bug in the program: throws Error E0001 with the position in the source, the build id and `detail`.
[[noreturn]] void internal_error(const char* file, int line, const std::string& detail);

}  // namespace shori

// On in release builds. `detail` is only evaluated on failure.
#define SHORI_CHECK(condition, detail)                                     \
  do {                                                                     \
    if (!(condition)) ::shori::internal_error(__FILE__, __LINE__, detail); \
  } while (false)
