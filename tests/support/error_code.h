// Which error a call throws.
#pragma once

#include <string>

#include "shori/util/error.h"

namespace shori {

// The code of the Error that `call` throws; "none" if it throws none.
template <typename Call>
std::string code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return "none";
}

}  // namespace shori
