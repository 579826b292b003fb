// A shape as decimal numbers joined by ',': "4096,14336".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shori/util/text.h"

namespace shori {

inline std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += concat(text.empty() ? "" : ",", size);
  return text;
}

}  // namespace shori
