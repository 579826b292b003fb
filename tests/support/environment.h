// What ctest passes to test programs in environment variables.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "shori/util/text.h"

namespace shori {

// The value of a variable that a test cannot do without.
inline std::string required_variable(const char* name) {
  if (const char* value = std::getenv(name)) return value;
  throw std::runtime_error(
      concat("the environment variable ", name, " is not set: run the test by ctest, which sets it"));
}

}  // namespace shori
