// Validation of a SentencePiece model file before the library gets it, as library versions abort or crash on hostile
// files.
//
// A reader of the protobuf wire format checks the rules below, and the library gets only the parsed values, encoded
// again. E0211 names byte and rule:
//   T1 wire format               T2 each spec at most once
//   T3 no normalisation rules    T4 pieces
//   T5 BPE                       T6 special and byte pieces
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shori {

// Numbers as in sentencepiece_model.proto.
enum class PieceType : std::uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct TokenizerPiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct TokenizerModel {
  std::vector<TokenizerPiece> pieces;  // index = id
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::int32_t unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::int32_t open_id = 0, close_id = 0;  // ▀ and ▄
  std::int32_t newline_id = 0;             // <0x0A>
  std::int32_t space_id = 0;               // ▁
};

// Checks the bytes of a model file; `name` is shown in messages. Throws Error: E0211 if it is broken or breaks a rule,
// E0205 if it has more pieces than `vocab_size` (when given), E0206 if it cannot be used for BlockML (▀, ▄ or newline is
// not exactly one token, white space is not kept as it is, or a control piece is a single character).
TokenizerModel parse_tokenizer_model(std::string_view bytes, const std::string& name,
                                     std::optional<std::int64_t> vocab_size = std::nullopt);

// The model in canonical field order: a pure function of the struct, parse(serialize(m)) gives m.
std::string serialize_tokenizer_model(const TokenizerModel& model);

// "<0x0A>": the text of the piece of a byte.
std::string byte_piece(unsigned byte);

inline constexpr std::int32_t kBpeModel = 2;  // `model_type` in trainer_spec
inline constexpr std::uint64_t kTokenizerFileBytes = 8u << 20;
inline constexpr std::size_t kTokenizerPieces = 131'072;

}  // namespace shori
