#include "shori/data/length_buckets.h"

#include <algorithm>

#include "shori/data/tokenizer.h"
#include "shori/util/error.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    if (!is_blockml_space(c) && !inside) ++words;
    inside = !is_blockml_space(c);
  }
  return words;
}

// Counts the tokens that the text has in its conversation, where no dummy prefix precedes it. After a newline, which is
// always a token of its own, the text is encoded with one; after `Name: ` the space takes the part of the prefix.
std::int64_t count_tokens(std::string_view body, std::string_view text, const Tokenizer& tokenizer) {
  const bool after_space = text.size() < body.size() && body[body.size() - text.size() - 1] == ' ';
  if (after_space) return static_cast<std::int64_t>(tokenizer.encode(text).size());
  const std::size_t with_line = tokenizer.encode("\n" + std::string(text)).size();
  return static_cast<std::int64_t>(with_line - tokenizer.encode("\n").size());
}

}  // namespace

LengthHint LengthBuckets::word_for(std::int64_t length) const {
  const auto bound = std::lower_bound(bounds.begin(), bounds.end(), length);
  return static_cast<LengthHint>(bound - bounds.begin() + 1);
}

std::string_view message_text(std::string_view body) {
  const std::optional<Speaker> speaker = find_speaker(body);
  return speaker ? body.substr(speaker->text_begin) : body;
}

std::int64_t measure_message(std::string_view body, LengthUnit unit, const Tokenizer* tokenizer) {
  const std::string_view text = message_text(body);
  if (unit == LengthUnit::kWords) return count_words(text);
  if (unit == LengthUnit::kChars) return static_cast<std::int64_t>(count_code_points(text));
  SHORI_CHECK(tokenizer != nullptr, "lengths in tokens need a tokenizer");
  return count_tokens(body, text, *tokenizer);
}

}  // namespace shori
