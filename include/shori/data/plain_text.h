// Text from outside, read by the rule of the data readers.
#pragma once

#include <string>
#include <string_view>

namespace shori {

// `bytes` as UTF-8: UTF-16 is converted, a byte order mark removed, and CR LF and CR become LF. E0304 for other bytes that are
// not UTF-8, for compressed files and for NUL. `shown` is the file in messages, with a command for it in the help; "stdin" has
// none.
std::string plain_text(std::string_view bytes, const std::string& shown);

}  // namespace shori
