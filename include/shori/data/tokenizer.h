// Text to ids, by SentencePiece BPE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/data/tokenizer_model.h"

namespace shori {

// Ids of a text and where each ends in it.
struct EncodedText {
  std::vector<std::int32_t> ids;
  // Byte offset one past the surface of each id; non-decreasing, the last is the size of the text. Equal to the one before
  // (0 for the first) when the surface is empty: the dummy prefix, and all but the last byte token of a character.
  std::vector<std::uint32_t> ends;
};

// Immutable; copies share one model. Encoding is const and safe from several threads at once.
//
// Ids are those of the SentencePiece library, but for `[INST]` and `[/INST]`: where these are control pieces (Mistral 7B
// v0.3), their text becomes their ids, and what follows has no dummy prefix, as in other programs. Where the vocabulary
// allows it, words are encoded one by one by this program's own BPE, and
// the ids of words met before come from a cache of 4 MiB for each thread that encodes at the same time.
class Tokenizer {
 public:
  // Reads and checks a tokenizer.model. Throws Error E0203 (missing), E0205, E0206, E0211 (see tokenizer_model.h).
  static Tokenizer load(const std::string& path, std::optional<std::int64_t> vocab_size = std::nullopt);
  // The same of a file's bytes.
  static Tokenizer from_bytes(std::string_view bytes, const std::string& name,
                              std::optional<std::int64_t> vocab_size = std::nullopt);

  // Ids of the whole text as one document, without BOS and EOS. Never gives BOS or EOS for text. Empty text: no ids.
  // Each invalid UTF-8 byte becomes U+FFFD.
  std::vector<std::int32_t> encode(std::string_view text) const;
  // The same with ends; the text must be valid UTF-8 of less than 4 GiB.
  EncodedText encode_with_offsets(std::string_view text) const;

  // Where `text` first holds a control piece that other programs would take for its id: its offset and text. Not
  // `[INST]` and `[/INST]`, which are encoded as their ids, and not `<s>`, `</s>` and `<unk>`, which every tokenizer has.
  std::optional<std::pair<std::size_t, std::string_view>> find_control_text(std::string_view text) const;

  std::string_view piece(std::int32_t id) const;
  PieceType piece_type(std::int32_t id) const;
  const std::string& unknown_surface() const;  // what <unk> is in a text
  std::int64_t vocab_size() const;
  std::int32_t bos_id() const { return 1; }
  std::int32_t eos_id() const { return 2; }
  std::int32_t open_id() const;       // ▀
  std::int32_t close_id() const;      // ▄
  std::int32_t newline_id() const;    // <0x0A>
  std::int32_t space_id() const;      // ▁, the dummy prefix of a text that begins with a block
  const std::string& sha256() const;  // of the file, hex
  // Whether words are encoded by this program's own BPE; only text that it does not cover then goes to the library.
  bool uses_word_cache() const;
  // What in the vocabulary forbids that; empty if nothing does.
  const std::string& word_cache_obstacle() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace shori
