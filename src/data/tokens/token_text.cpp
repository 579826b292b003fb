#include "shori/data/token_text.h"

#include <utility>

#include "shori/util/utf8.h"
#include "src/data/tokens/word_bpe.h"

namespace shori {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

char byte_of_piece(std::string_view piece) {  // "<0x0A>"
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
  return static_cast<char>(digit(piece[3]) * 16 + digit(piece[4]));
}

}  // namespace

std::string piece_bytes(const Tokenizer& tokenizer, std::int32_t id) {
  std::string_view piece = tokenizer.piece(id);
  if (tokenizer.piece_type(id) == PieceType::kByte) return std::string(1, byte_of_piece(piece));
  std::string bytes;
  while (!piece.empty()) {
    const bool mark = piece.starts_with(kSpaceMark);
    bytes += mark ? ' ' : piece.front();
    piece.remove_prefix(mark ? kSpaceMark.size() : 1);
  }
  return bytes;
}

std::string TokenTextDecoder::take_characters(bool at_end) {
  std::string text;
  while (!bytes_.empty()) {
    const std::size_t valid = find_invalid_utf8(bytes_).value_or(bytes_.size());
    text.append(bytes_, 0, valid);
    bytes_.erase(0, valid);
    if (bytes_.empty() || (!at_end && is_begin_of_character(bytes_))) break;
    text += kReplacement;
    bytes_.erase(0, 1);
  }
  return text;
}

std::string TokenTextDecoder::append(std::int32_t id) {
  const PieceType type = tokenizer_.piece_type(id);
  if (type == PieceType::kControl) return "";
  const bool drops_prefix = std::exchange(drops_prefix_, false);
  std::string bytes = piece_bytes(tokenizer_, id);
  if (type == PieceType::kByte) {
    bytes_ += bytes;
    return take_characters(false);
  }
  const std::string text = take_characters(true);
  if (type == PieceType::kUnknown) return text + tokenizer_.unknown_surface();
  if (drops_prefix && tokenizer_.piece(id).starts_with(kSpaceMark)) bytes.erase(0, 1);
  return text + bytes;
}

std::string TokenTextDecoder::finish() { return take_characters(true); }

std::string decode_ids(const Tokenizer& tokenizer, std::span<const std::int32_t> ids, bool at_start) {
  TokenTextDecoder decoder(tokenizer, at_start);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.append(id);
  return text + decoder.finish();
}

}  // namespace shori
