// Byte-pair encoding of one word, with the ids that SentencePiece gives that word in any text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/tokenizer_model.h"

namespace shori {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁ stands for a space in pieces

// A word is a run of spaces with what follows up to the next space or newline, or one newline. Says what in the vocabulary
// forbids to encode the words of a text one by one; nullopt when the ids of the words are those of the text:
//   - White space is kept as it is, and the dummy prefix is one more space.
//   - No piece holds a newline, or ▁ after another character: no merge crosses the start of a word.
//   - Every character of a normal piece is a normal piece, so every symbol that can be merged has an id.
//   - An unknown character becomes its bytes; without byte pieces, unknown characters of several words become one id.
//   - No piece is user-defined or unused: SentencePiece looks for the first before it merges and undoes merges to the second.
//   - No control or unknown piece is one character, which SentencePiece would take for that piece.
std::optional<std::string> find_word_obstacle(const TokenizerModel& model);

// Immutable: safe from several threads at once.
class WordBpe {
 public:
  // Every merge looks at all pairs of symbols, which is slow for long words. Sentences of scripts without spaces are shorter.
  static constexpr std::size_t kMaxWordBytes = 256;

  // Of a model for which find_word_obstacle finds nothing.
  explicit WordBpe(const TokenizerModel& model);

  // Appends the ids of a word of at most kMaxWordBytes: valid UTF-8 without NUL and U+2581.
  void append(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  // What two adjacent symbols become, and how early.
  struct Merge {
    float score;
    std::int32_t id;
  };

  void append_characters(std::string_view word, std::vector<std::int32_t>& ids) const;
  void index_characters(const TokenizerModel& model);
  void index_pairs(const TokenizerModel& model);
  std::size_t slot_of(std::uint64_t pair) const;
  Merge merge_of(std::int32_t left, std::int32_t right) const;

  std::vector<std::int32_t> character_ids_;  // by code point; -1 for one that is no piece
  std::vector<std::int32_t> byte_ids_;
  std::vector<float> scores_;         // by id
  std::vector<std::uint64_t> pairs_;  // hash table of left id, right id and merged id, 17 bits each; a power of two
};

}  // namespace shori
