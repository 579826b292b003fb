// The log for people: lines on stderr and, once it is open, in <output_dir>/train.log. stdout carries only what was
// asked for. On a terminal the heads of diagnostics are colored unless NO_COLOR is set.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "shori/util/error.h"

namespace shori {

// Whether text for this file descriptor takes colors: by the choice made, else if it is a terminal and NO_COLOR is not set.
bool wants_color(int descriptor);

// One line. Text from files must have passed escape_for_log.
void log_info(std::string_view text);
// As log_info, but not shown on a terminal, where the live line shows the same.
void log_detail(std::string_view text);
// The whole diagnostic. With set_warnings_as_errors(true) a warning is thrown as an Error instead.
void log_warning(const Diagnostic& diagnostic);
void log_error(const Diagnostic& diagnostic);
// A line that --quiet leaves: one a stage.
void log_result(std::string_view text);
// For a terminal only, neither in train.log nor in a pipe: a short form of details that those have in full.
void log_screen(std::string_view text);

// kQuiet: errors, warnings and results. kVerbose: a terminal shows the details as well.
enum class Verbosity { kQuiet, kNormal, kVerbose };
void set_verbosity(Verbosity verbosity);
bool is_quiet();
bool is_verbose();
enum class ColorChoice { kAuto, kAlways, kNever };
void set_color_choice(ColorChoice choice);

void set_warnings_as_errors(bool on);
// Warnings that were logged so far.
std::size_t warning_count();
// Diagnostics become one JSON object per line instead of text.
void set_json_errors(bool on);
bool writes_json_errors();

// Appends everything logged from now on to `path` as well, first what was logged before any file was open; an empty path
// closes the file. E0513 if it cannot be opened.
void set_log_file(const std::string& path);

}  // namespace shori
