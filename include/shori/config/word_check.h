// Whether a list of words has one for each enumerator. It stands apart from vocabulary.h because only the places that read
// whole lists need it.
#pragma once

#include <cstddef>
#include <string_view>

#include "shori/config/vocabulary.h"

namespace shori {

// A value without a name is printed as a cast, `(shori::Form)3`, by GCC and by clang.
template <typename E, E kValue>
consteval bool is_enumerator() {
  constexpr std::string_view kBefore = "kValue = ";
  const std::string_view signature = __PRETTY_FUNCTION__;
  return signature.substr(signature.find(kBefore) + kBefore.size()).front() != '(';
}

// For enumerators that are numbered from 0: the last word has one, and there is none after it.
template <typename E>
inline constexpr bool kHasAllWords = !kWords<E>.empty() && is_enumerator<E, static_cast<E>(kWords<E>.size() - 1)>() &&
                                     !is_enumerator<E, static_cast<E>(kWords<E>.size())>();

}  // namespace shori
