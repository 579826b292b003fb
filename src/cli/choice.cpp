#include "src/cli/choice.h"

#include <algorithm>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// "blockml, jsonl or yaml".
std::string alternatives(std::span<const std::string_view> words) {
  if (words.size() == 1) return std::string(words.front());
  return concat(join_words(words.first(words.size() - 1)), " or ", words.back());
}

}  // namespace

std::string word_choices(std::span<const std::string_view> words) { return concat("[", join_words(words, "|"), "]"); }

void refuse_word(const std::string& given, std::span<const std::string_view> words) {
  throw CLI::ValidationError(concat(escape_for_log(given), ": choose ", alternatives(words)));
}

CLI::Option* add_word_option(CLI::App& command, const std::string& name, std::span<const std::string_view> words,
                             const std::string& meaning, const std::function<void(std::size_t)>& store) {
  const auto choose = [name, words, store](const std::string& given) {
    const auto found = std::find(words.begin(), words.end(), given);
    if (found == words.end()) refuse_word(concat(name, " ", given), words);
    store(static_cast<std::size_t>(found - words.begin()));
  };
  return command.add_option_function<std::string>(name, choose, meaning)->type_name(word_choices(words));
}

}  // namespace shori
