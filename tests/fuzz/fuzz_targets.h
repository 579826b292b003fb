// Entries of the fuzzer. Each takes any bytes, and fails (by an exception) where a promise is broken. The seeds in
// corpus/<name> are replayed by fuzz_test; with clang, `-DSHORI_FUZZ=ON` makes one libFuzzer program of each.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace shori::fuzz {

void blockml(std::string_view bytes);  // parse, render, parse again: the same document, canonical after one rendering
void jsonl(std::string_view bytes);    // data lines, with text or ids: what is accepted is in range
void import(std::string_view bytes);   // the first byte chooses the format: what is made is canonical
void yaml(std::string_view bytes);     // YAML data files

inline void require(bool condition, const char* promise) {
  if (!condition) throw std::logic_error(std::string("broken promise: ") + promise);
}

}  // namespace shori::fuzz
