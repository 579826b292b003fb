#include <bit>

#include "shori/data/tokenizer_model.h"

namespace shori {
namespace {

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_number(std::string& out, std::uint32_t field, std::int64_t value) {
  append_varint(out, field << 3);
  append_varint(out, static_cast<std::uint64_t>(value));
}

void append_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  append_varint(out, field << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string serialize_piece(const TokenizerPiece& piece) {
  std::string out;
  append_bytes(out, 1, piece.text);
  append_varint(out, 2 << 3 | 5);
  const std::uint32_t score = std::bit_cast<std::uint32_t>(piece.score);
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(score >> shift & 0xFF);
  append_number(out, 3, static_cast<std::int64_t>(piece.type));
  return out;
}

}  // namespace

std::string serialize_tokenizer_model(const TokenizerModel& model) {
  std::string out;
  for (const TokenizerPiece& piece : model.pieces) append_bytes(out, 1, serialize_piece(piece));
  std::string trainer;
  append_number(trainer, 3, kBpeModel);
  append_number(trainer, 4, static_cast<std::int64_t>(model.pieces.size()));
  append_number(trainer, 24, model.whitespace_as_suffix);
  append_number(trainer, 35, model.byte_fallback);
  append_number(trainer, 40, model.unk_id);
  append_number(trainer, 41, model.bos_id);
  append_number(trainer, 42, model.eos_id);
  append_number(trainer, 43, model.pad_id);
  append_bytes(trainer, 44, model.unk_surface);
  append_bytes(out, 2, trainer);
  std::string normalizer;
  append_bytes(normalizer, 1, "identity");
  append_number(normalizer, 3, model.add_dummy_prefix);
  append_number(normalizer, 4, model.remove_extra_whitespaces);
  append_number(normalizer, 5, model.escape_whitespaces);
  append_bytes(out, 3, normalizer);
  return out;
}

}  // namespace shori
