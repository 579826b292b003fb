#include "src/data/tokens/blockml_pieces.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "shori/data/blockml.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

class BlockmlPieces {
 public:
  BlockmlPieces(const TokenizerModel& model, const std::string& name) : model_(model), name_(name) {}

  void check_single_characters() const;
  std::int32_t block_mark(std::string_view mark, const std::string& label) const;
  std::int32_t newline() const;
  std::int32_t space() const;

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& note = "") const;
  std::optional<std::int32_t> find(std::string_view text, PieceType type) const;
  std::string byte_ids(std::string_view text) const;

  const TokenizerModel& model_;
  const std::string& name_;
};

void BlockmlPieces::fail(const std::string& what, const std::string& note) const {
  Diagnostic problem("E0206", what);
  problem.at(name_);
  if (!note.empty()) problem.note(note);
  throw Error(problem.help("wrong tokenizer for BlockML: use that of Mistral 7B v0.1, v0.2 or v0.3"));
}

// The pieces of a model differ, so there is one at most.
std::optional<std::int32_t> BlockmlPieces::find(std::string_view text, PieceType type) const {
  const auto found = std::find_if(model_.pieces.begin(), model_.pieces.end(), [&](const TokenizerPiece& piece) {
    return piece.type == type && piece.text == text;
  });
  if (found == model_.pieces.end()) return std::nullopt;
  return static_cast<std::int32_t>(found - model_.pieces.begin());
}

// " 229 153 135": the ids of the bytes of `text`.
std::string BlockmlPieces::byte_ids(std::string_view text) const {
  std::string result;
  for (const char c : text)
    result += concat(' ', find(byte_piece(static_cast<unsigned char>(c)), PieceType::kByte).value());
  return result;
}

// SentencePiece looks up each character that no merge takes in, and fails where it finds a control piece.
void BlockmlPieces::check_single_characters() const {
  for (std::size_t id = 0; id < model_.pieces.size(); ++id) {
    const TokenizerPiece& piece = model_.pieces[id];
    if (piece.type != PieceType::kControl || code_point_at(piece.text, 0).bytes < piece.text.size()) continue;
    fail(concat("the control piece ", id, " is the single character `", escape_for_log(piece.text), '`'),
         "a text with this character has no ids: SentencePiece gives control pieces none");
  }
}

std::int32_t BlockmlPieces::block_mark(std::string_view mark, const std::string& label) const {
  const std::optional<std::int32_t> id = find(mark, PieceType::kNormal);
  if (!id) {
    fail(label + " is " + (model_.byte_fallback ? "3 tokens" : "unknown") + " in this tokenizer, BlockML needs 1",
         model_.byte_fallback ? "ids" + byte_ids(mark) : "");
  }
  for (const TokenizerPiece& piece : model_.pieces) {
    if (piece.text.size() <= mark.size() || piece.text.find(mark) == std::string::npos) continue;
    fail(label + " is part of the longer piece `" + escape_for_log(piece.text) + "`, BlockML needs it alone");
  }
  return *id;
}

std::int32_t BlockmlPieces::newline() const {
  for (const TokenizerPiece& piece : model_.pieces) {
    if (piece.text.find('\n') != std::string::npos) fail("a piece holds a newline, BlockML needs it alone");
  }
  const std::optional<std::int32_t> id = find("<0x0A>", PieceType::kByte);
  if (!id) fail("this tokenizer has no piece <0x0A>, BlockML needs one for the newline");
  return *id;
}

std::int32_t BlockmlPieces::space() const {
  const std::optional<std::int32_t> id = find("\xE2\x96\x81", PieceType::kNormal);
  if (!id) fail("this tokenizer has no piece for the space (U+2581)");
  if (!model_.add_dummy_prefix || model_.remove_extra_whitespaces || !model_.escape_whitespaces ||
      model_.whitespace_as_suffix) {
    fail("this tokenizer does not keep white space as it is",
         "needed: add_dummy_prefix, escape_whitespaces, no remove_extra_whitespaces, no treat_whitespace_as_suffix");
  }
  return *id;
}

}  // namespace

void find_blockml_pieces(TokenizerModel& model, const std::string& name) {
  const BlockmlPieces pieces(model, name);
  pieces.check_single_characters();
  model.open_id = pieces.block_mark(kBlockOpen, "U+2580");
  model.close_id = pieces.block_mark(kBlockClose, "U+2584");
  model.newline_id = pieces.newline();
  model.space_id = pieces.space();
}

}  // namespace shori
