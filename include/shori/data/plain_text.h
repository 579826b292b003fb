// Text from outside, read by the rule of the data readers.
#pragma once

#include <string>

namespace shori {

// `bytes` without a byte order mark, with LF for CR LF and CR. E0304 for bytes that are not UTF-8 and for NUL. `shown` is the
// file in messages, with a command for it in the help; "stdin" has none.
std::string plain_text(std::string bytes, const std::string& shown);

}  // namespace shori
