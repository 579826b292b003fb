// What people read: lines on stderr (and in <output_dir>/train.log once opened). stdout carries only what was asked
// for.
#pragma once

#include <string>
#include <string_view>

#include "shori/util/error.h"

namespace shori {

void log_info(std::string_view text);  // one line; text from files must have passed escape_for_log
// Goes where log_info goes, but on a terminal only into the log file: the live line shows it there.
void log_detail(std::string_view text);
void log_warning(const Diagnostic& diagnostic);  // printed in full; thrown as an Error under set_warnings_as_errors
void log_error(const Diagnostic& diagnostic);
void set_warnings_as_errors(bool on);
void set_json_errors(bool on);  // diagnostics as one JSON object a line instead of text

// Copies everything from now on into `path` (appending). Closing is done at exit or by an empty path.
void set_log_file(const std::string& path);

}  // namespace shori
