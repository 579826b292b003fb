// SHA-256 of arrays, for golden values.
#pragma once

#include <cstddef>
#include <string>

#include "shori/util/hash.h"

namespace shori {

template <typename T>
std::string sha256_of(const T* values, std::size_t count) {
  return to_hex(sha256(values, count * sizeof(T)));
}

}  // namespace shori
