#include "src/chat/output.h"

#include <cerrno>
#include <cstdio>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  throw Error(Diagnostic("E0512", concat("cannot write to stdout: ", error_text(errno))));
}

std::string harmless(std::string_view text) {
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    const bool is_kept = point.value == '\n' || point.value == '\t' || !is_control_character(point.value);
    append_utf8(shown, is_kept ? point.value : 0xFFFD);
    at += point.bytes;
  }
  return shown;
}

}  // namespace shori
