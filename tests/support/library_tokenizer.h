// The tokenizer whose every text the SentencePiece library encodes, to compare the word cache with.
#pragma once

#include <string>

#include "shori/data/tokenizer.h"
#include "shori/data/tokenizer_model.h"

namespace shori::test {

// Of the same pieces and one more, unused, that stands in no text: a vocabulary with unused pieces has no word cache.
inline Tokenizer library_tokenizer(TokenizerModel model) {
  model.pieces.push_back({"\U0010FFFF\U0010FFFF\U0010FFFF", 0, PieceType::kUnused});
  return Tokenizer::from_bytes(serialize_tokenizer_model(model), "tokenizer.model");
}

}  // namespace shori::test
