// From the length of a message to its length word. The bounds are this project's own; the original data has loose hints
// that no table reproduces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "shori/config/vocabulary.h"
#include "shori/data/blockml.h"

namespace shori {

class Tokenizer;

// A text of n units has the first word, from nano to huge, whose bound is >= n; else enormous. Strictly increasing.
struct LengthBuckets {
  LengthBounds bounds = kDefaultLengthBounds;
  LengthUnit unit = LengthUnit::kTokens;

  LengthHint word_for(std::int64_t length) const;
};

// The text of a message after its speaker, which is what is measured.
std::string_view message_text(std::string_view body);

// Length of a message's text. Only kTokens needs `tokenizer`; it counts the tokens that the text has in its
// conversation.
std::int64_t measure_message(std::string_view body, LengthUnit unit, const Tokenizer* tokenizer);

}  // namespace shori
