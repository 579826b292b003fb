#pragma once

#include <cstddef>

namespace shori {

// Bytes [begin, end) of a text.
struct TextSpan {
  std::size_t begin = 0, end = 0;
};

}  // namespace shori
