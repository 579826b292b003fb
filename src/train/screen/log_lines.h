// Logging of texts that have several lines.
#pragma once

#include <algorithm>
#include <string_view>

#include "shori/util/log.h"

namespace shori {

inline void log_lines(std::string_view text, void (*log)(std::string_view) = log_info) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    log(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

}  // namespace shori
