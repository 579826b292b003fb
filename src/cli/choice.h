// Options whose value is one of a few words. Help shows them as `[blockml|jsonl|yaml]`, and the error for another word is
// "--to xml: choose blockml, jsonl or yaml".
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "shori/config/vocabulary.h"
#include "shori/config/word_check.h"

namespace shori {

// Calls `store` with the index of the word that was given.
CLI::Option* add_word_option(CLI::App& command, const std::string& name, std::span<const std::string_view> words,
                             const std::string& meaning, const std::function<void(std::size_t)>& store);

// `[blockml|jsonl|yaml]`.
std::string word_choices(std::span<const std::string_view> words);

// A usage error: `given` is what the user wrote, "--to xml".
[[noreturn]] void refuse_word(const std::string& given, std::span<const std::string_view> words);

// The words of E; `value` is an E or an optional one.
template <typename E, typename Value>
CLI::Option* add_choice(CLI::App& command, const std::string& name, Value& value, const std::string& meaning) {
  static_assert(kHasAllWords<E>, "kWords has a word for each enumerator");
  return add_word_option(command, name, kWords<E>, meaning,
                         [&value](std::size_t index) { value = static_cast<E>(index); });
}

// Words without an enum: `value` is the word.
inline CLI::Option* add_choice(CLI::App& command, const std::string& name, std::string& value,
                               std::span<const std::string_view> words, const std::string& meaning) {
  return add_word_option(command, name, words, meaning, [&value, words](std::size_t index) { value = words[index]; });
}

}  // namespace shori
