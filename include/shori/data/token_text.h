// Ids back to text, one at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "shori/data/tokenizer.h"

namespace shori {

// The bytes of one id by itself: its piece with spaces for ▁, or the byte of <0xNN>. Control pieces are their text.
std::string piece_bytes(const Tokenizer& tokenizer, std::int32_t id);

// Gives the text that SentencePiece's decoder gives for all ids at once: ▁ is a space, <0xNN> a byte, control pieces are
// empty, and each byte that belongs to no well-formed character becomes U+FFFD.
class TokenTextDecoder {
 public:
  // `at_start`: the ids begin a document, whose first ▁ is the dummy prefix; else they continue a text, such as a prompt.
  TokenTextDecoder(const Tokenizer& tokenizer, bool at_start) : tokenizer_(tokenizer), drops_prefix_(at_start) {}

  // The text that `id` completes: valid UTF-8. Bytes of a character that is not whole yet are held back.
  std::string append(std::int32_t id);
  // What is held back, at the end of the ids.
  std::string finish();

 private:
  std::string take_characters(bool at_end);

  Tokenizer tokenizer_;
  bool drops_prefix_;
  std::string bytes_;  // held back
};

std::string decode_ids(const Tokenizer& tokenizer, std::span<const std::int32_t> ids, bool at_start);

}  // namespace shori
