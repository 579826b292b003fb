#include "src/data/tokens/word_bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <unordered_map>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr int kIdBits = 17;
static_assert(kTokenizerPieces <= std::size_t{1} << kIdBits);
constexpr std::uint64_t kIdMask = (std::uint64_t{1} << kIdBits) - 1;
constexpr std::uint64_t kEmptySlot = ~std::uint64_t{0};
constexpr float kNoMerge = -std::numeric_limits<float>::infinity();  // scores of a model file are finite

using Ids = std::unordered_map<std::string_view, std::int32_t>;

Ids ids_of_type(const TokenizerModel& model, PieceType type) {
  Ids ids;
  ids.reserve(model.pieces.size());
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    if (model.pieces[id].type == type) ids.emplace(model.pieces[id].text, static_cast<std::int32_t>(id));
  }
  return ids;
}

bool keeps_white_space(const TokenizerModel& model) {
  return model.add_dummy_prefix && !model.remove_extra_whitespaces && model.escape_whitespaces &&
         !model.whitespace_as_suffix;
}

bool has_all_bytes(const Ids& bytes) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!bytes.contains(byte_piece(byte))) return false;
  }
  return true;
}

bool is_one_character(std::string_view text) { return code_point_at(text, 0).bytes == text.size(); }

bool has_space_after_another_character(std::string_view text) {
  while (text.starts_with(kSpaceMark)) text.remove_prefix(kSpaceMark.size());
  return text.find(kSpaceMark) != std::string_view::npos;
}

bool characters_are_pieces(std::string_view text, const Ids& normal) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = code_point_at(text, at).bytes;
    if (!normal.contains(text.substr(at, bytes))) return false;
    at += bytes;
  }
  return true;
}

// Empty when the piece is no obstacle.
std::string_view obstacle_of(const TokenizerPiece& piece, const Ids& normal) {
  switch (piece.type) {
    case PieceType::kByte:
      return "";
    case PieceType::kUserDefined:
      return "is user-defined";
    case PieceType::kUnused:
      return "is unused";
    case PieceType::kUnknown:
    case PieceType::kControl:
      return is_one_character(piece.text) ? "is a special piece of one character" : "";
    case PieceType::kNormal:
      break;
  }
  if (piece.text.find('\n') != std::string::npos) return "holds a newline";
  if (has_space_after_another_character(piece.text)) return "has a space after another character";
  if (!characters_are_pieces(piece.text, normal)) return "has a character that is no piece";
  return "";
}

}  // namespace

std::optional<std::string> find_word_obstacle(const TokenizerModel& model) {
  if (!keeps_white_space(model)) return "white space is not kept as it is";
  if (!model.byte_fallback || !has_all_bytes(ids_of_type(model, PieceType::kByte))) return "there is no byte fallback";
  const Ids normal = ids_of_type(model, PieceType::kNormal);
  if (!normal.contains(kSpaceMark)) return "there is no piece for the space";
  for (const TokenizerPiece& piece : model.pieces) {
    const std::string_view obstacle = obstacle_of(piece, normal);
    if (!obstacle.empty()) return concat("the piece `", escape_for_log(piece.text), "` ", obstacle);
  }
  return std::nullopt;
}

WordBpe::WordBpe(const TokenizerModel& model) {
  SHORI_CHECK(model.pieces.size() <= kTokenizerPieces, "too many pieces");
  for (const TokenizerPiece& piece : model.pieces) scores_.push_back(piece.score);
  const Ids bytes = ids_of_type(model, PieceType::kByte);
  for (unsigned byte = 0; byte < 256; ++byte) byte_ids_.push_back(bytes.at(byte_piece(byte)));
  index_characters(model);
  index_pairs(model);
}

void WordBpe::index_characters(const TokenizerModel& model) {
  for (const auto& [text, id] : ids_of_type(model, PieceType::kNormal)) {
    if (!is_one_character(text)) continue;
    const std::size_t value = code_point_at(text, 0).value;
    if (value >= character_ids_.size()) character_ids_.resize(value + 1, -1);
    character_ids_[value] = id;
  }
  character_ids_[' '] = character_ids_[code_point_at(kSpaceMark, 0).value];
}

// Every way to cut a piece into two pieces is a pair that becomes it.
void WordBpe::index_pairs(const TokenizerModel& model) {
  const Ids normal = ids_of_type(model, PieceType::kNormal);
  std::vector<std::uint64_t> pairs;
  for (const auto& [text, id] : normal) {
    for (std::size_t cut = code_point_at(text, 0).bytes; cut < text.size(); cut += code_point_at(text, cut).bytes) {
      const auto left = normal.find(text.substr(0, cut));
      if (left == normal.end()) continue;
      const auto right = normal.find(text.substr(cut));
      if (right == normal.end()) continue;
      const auto pair = static_cast<std::uint64_t>(left->second) << kIdBits | static_cast<std::uint64_t>(right->second);
      pairs.push_back(pair << kIdBits | static_cast<std::uint64_t>(id));
    }
  }
  pairs_.assign(std::bit_ceil(2 * pairs.size() + 2), kEmptySlot);
  for (const std::uint64_t entry : pairs) pairs_[slot_of(entry >> kIdBits)] = entry;
}

// Where the pair is, or the empty slot where it would be.
std::size_t WordBpe::slot_of(std::uint64_t pair) const {
  std::uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 32;
  std::size_t slot = hash & (pairs_.size() - 1);
  while (pairs_[slot] != kEmptySlot && pairs_[slot] >> kIdBits != pair) slot = (slot + 1) & (pairs_.size() - 1);
  return slot;
}

WordBpe::Merge WordBpe::merge_of(std::int32_t left, std::int32_t right) const {
  const std::uint64_t entry =
      pairs_[slot_of(static_cast<std::uint64_t>(left) << kIdBits | static_cast<std::uint64_t>(right))];
  if (entry == kEmptySlot) return {kNoMerge, 0};
  const std::uint64_t id = entry & kIdMask;
  return {scores_[id], static_cast<std::int32_t>(id)};
}

// An unknown character is its bytes at once: byte pieces are no part of any pair.
void WordBpe::append_characters(std::string_view word, std::vector<std::int32_t>& ids) const {
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint character = code_point_at(word, at);
    const std::int32_t id = character.value < character_ids_.size() ? character_ids_[character.value] : -1;
    if (id >= 0) ids.push_back(id);
    for (std::size_t i = 0; id < 0 && i < character.bytes; ++i)
      ids.push_back(byte_ids_[static_cast<unsigned char>(word[at + i])]);
    at += character.bytes;
  }
}

void WordBpe::append(std::string_view word, std::vector<std::int32_t>& ids) const {
  SHORI_CHECK(word.size() <= kMaxWordBytes, "word too long");
  const std::size_t begin = ids.size();
  append_characters(word, ids);
  std::array<Merge, kMaxWordBytes> merges;  // of each symbol with the next one
  const auto first = merges.begin();
  auto last = first;
  for (std::size_t i = begin; i + 1 < ids.size(); ++i) *last++ = merge_of(ids[i], ids[i + 1]);
  while (first != last) {
    // The best score; of equal ones the leftmost.
    const auto best = std::max_element(first, last, [](Merge a, Merge b) { return a.score < b.score; });
    if (best->score == kNoMerge) return;
    const auto symbol = ids.begin() + static_cast<std::ptrdiff_t>(begin) + (best - first);
    *symbol = best->id;
    ids.erase(symbol + 1);
    last = std::copy(best + 1, last, best);
    if (best != first) *(best - 1) = merge_of(*(symbol - 1), *symbol);
    if (best != last) *best = merge_of(*symbol, *(symbol + 1));
  }
}

}  // namespace shori
