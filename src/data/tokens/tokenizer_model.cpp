// Reading and checking a model file. Field numbers: google/sentencepiece, sentencepiece_model.proto.
#include "shori/data/tokenizer_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/tokens/blockml_pieces.h"
#include "src/data/tokens/wire_reader.h"

namespace shori {
namespace {

constexpr std::size_t kPieceBytes = 256;

class ModelReader {
 public:
  ModelReader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  void read();
  void check_count(std::int64_t vocab_size) const;
  TokenizerModel take() { return std::move(model_); }

 private:
  using Ids = std::unordered_map<std::string_view, std::int32_t>;

  [[noreturn]] void fail(std::size_t byte, const std::string& what, int rule) const {
    fail_model_file(name_, byte, what, rule);
  }
  const TokenizerPiece& piece_at(std::int32_t id) const { return model_.pieces[static_cast<std::size_t>(id)]; }
  std::string piece_label(std::size_t id) const { return concat("piece ", id); }

  void read_piece(WireReader fields, std::size_t offset);
  void check_text(std::string_view text, std::size_t offset) const;
  void read_trainer(WireReader fields);
  void read_normalizer(WireReader fields);
  void index_pieces();
  void check_special_pieces() const;
  void check_byte_pieces() const;

  std::string_view bytes_;
  const std::string& name_;
  TokenizerModel model_;
  std::vector<std::size_t> offsets_;  // of each piece in the file
  Ids ids_;
  std::int32_t model_type_ = 1;
  std::size_t model_type_at_ = 0;
};

void ModelReader::check_text(std::string_view text, std::size_t offset) const {
  const std::string label = piece_label(model_.pieces.size());
  if (text.empty()) fail(offset, label + " is empty", 4);
  if (text.size() > kPieceBytes) fail(offset, label + " is longer than 256 bytes", 4);
  if (text.find('\0') != std::string_view::npos) fail(offset, label + " contains a NUL", 4);
  if (find_invalid_utf8(text)) fail(offset, label + " is not UTF-8", 4);
}

void ModelReader::read_piece(WireReader fields, std::size_t offset) {
  if (model_.pieces.size() == kTokenizerPieces) fail(offset, "more than 131,072 pieces", 4);
  const std::string label = piece_label(model_.pieces.size());
  TokenizerPiece piece;
  std::size_t text_at = offset;
  for (WireField field; fields.next(field);) {
    if (field.number == 1) {
      piece.text = fields.bytes(field);
      text_at = field.offset;
    } else if (field.number == 2) {
      piece.score = fields.float32(field);
      if (!std::isfinite(piece.score)) fail(field.offset, "the score of " + label + " is not finite", 4);
    } else if (field.number == 3) {
      const std::int32_t type = fields.int32(field);
      if (type < 1 || type > 6) fail(field.offset, concat(label, " has the unknown type ", type), 4);
      piece.type = static_cast<PieceType>(type);
    }
  }
  check_text(piece.text, text_at);
  model_.pieces.push_back(std::move(piece));
  offsets_.push_back(text_at);
}

void ModelReader::read_trainer(WireReader fields) {
  for (WireField field; fields.next(field);) {
    switch (field.number) {
      case 3:
        model_type_ = fields.int32(field);
        model_type_at_ = field.offset;
        break;
      case 4:
        fields.int32(field);
        break;
      case 24:
        model_.whitespace_as_suffix = fields.boolean(field);
        break;
      case 35:
        model_.byte_fallback = fields.boolean(field);
        break;
      case 40:
        model_.unk_id = fields.int32(field);
        break;
      case 41:
        model_.bos_id = fields.int32(field);
        break;
      case 42:
        model_.eos_id = fields.int32(field);
        break;
      case 43:
        model_.pad_id = fields.int32(field);
        break;
      case 44:
        model_.unk_surface = fields.bytes(field);
        if (find_invalid_utf8(model_.unk_surface)) fail(field.offset, "unk_surface is not UTF-8", 4);
        break;
      default:
        break;
    }
  }
}

void ModelReader::read_normalizer(WireReader fields) {
  for (WireField field; fields.next(field);) {
    switch (field.number) {
      case 1:
        fields.bytes(field);
        break;
      case 2:
        if (!fields.bytes(field).empty())
          fail(field.offset, "the file has a normalisation table (precompiled_charsmap)", 3);
        break;
      case 3:
        model_.add_dummy_prefix = fields.boolean(field);
        break;
      case 4:
        model_.remove_extra_whitespaces = fields.boolean(field);
        break;
      case 5:
        model_.escape_whitespaces = fields.boolean(field);
        break;
      case 6:
        if (!fields.bytes(field).empty()) fail(field.offset, "the file has normalisation rules (rule_tsv)", 3);
        break;
      default:
        break;
    }
  }
}

void ModelReader::index_pieces() {
  ids_.reserve(model_.pieces.size());
  for (std::size_t id = 0; id < model_.pieces.size(); ++id) {
    const auto [first, is_new] = ids_.emplace(model_.pieces[id].text, static_cast<std::int32_t>(id));
    if (!is_new)
      fail(offsets_[id], piece_label(id) + " is the same as " + piece_label(static_cast<std::size_t>(first->second)),
           4);
  }
}

void ModelReader::check_special_pieces() const {
  std::int32_t unknown = -1;
  for (std::size_t id = 0; id < model_.pieces.size(); ++id) {
    if (model_.pieces[id].type != PieceType::kUnknown) continue;
    if (unknown >= 0) fail(offsets_[id], "a second UNKNOWN piece, " + piece_label(id), 6);
    unknown = static_cast<std::int32_t>(id);
  }
  if (unknown < 0) fail(bytes_.size(), "no UNKNOWN piece", 6);
  constexpr std::array<std::string_view, 3> kNames = {"", "<s>", "</s>"};
  for (std::size_t id = 1; id <= 2; ++id) {
    if (id >= model_.pieces.size()) fail(bytes_.size(), "no " + piece_label(id), 6);
    const TokenizerPiece& piece = model_.pieces[id];
    if (piece.text == kNames[id] && piece.type == PieceType::kControl) continue;
    fail(offsets_[id], piece_label(id) + " is not the control piece `" + std::string(kNames[id]) + '`', 6);
  }
  if (model_.unk_id != unknown || model_.bos_id != 1 || model_.eos_id != 2) {
    fail(bytes_.size(), "the ids of <unk>, <s> and </s> in trainer_spec are not those of the pieces", 6);
  }
}

void ModelReader::check_byte_pieces() const {
  std::size_t found = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto piece = ids_.find(byte_piece(byte));
    const bool there = piece != ids_.end() && piece_at(piece->second).type == PieceType::kByte;
    if (there) ++found;
    if (!there && model_.byte_fallback) fail(bytes_.size(), "no byte piece `" + byte_piece(byte) + '`', 6);
  }
  std::size_t of_type = 0;
  for (std::size_t id = 0; id < model_.pieces.size(); ++id) {
    if (model_.pieces[id].type != PieceType::kByte) continue;
    if (++of_type > found || !model_.byte_fallback)
      fail(offsets_[id], piece_label(id) + " is a byte piece too many", 6);
  }
}

void ModelReader::read() {
  bool has_trainer = false, has_normalizer = false;
  WireReader fields(bytes_, name_, 0, bytes_.size());
  for (WireField field; fields.next(field);) {
    switch (field.number) {
      case 1:
        read_piece(fields.message(field), field.offset);
        break;
      case 2:
        if (std::exchange(has_trainer, true)) fail(field.offset, "a second trainer_spec", 2);
        read_trainer(fields.message(field));
        break;
      case 3:
        if (std::exchange(has_normalizer, true)) fail(field.offset, "a second normalizer_spec", 2);
        read_normalizer(fields.message(field));
        break;
      case 5:
        if (!fields.bytes(field).empty()) fail(field.offset, "the file has a denormalizer_spec", 3);
        break;
      default:
        break;
    }
  }
  index_pieces();
  if (model_type_ != kBpeModel) {
    fail(model_type_at_, concat("model_type is ", model_type_, ", 2 (BPE) is needed"), 5);
  }
  check_special_pieces();
  check_byte_pieces();
}

void ModelReader::check_count(std::int64_t vocab_size) const {
  const auto count = static_cast<std::int64_t>(model_.pieces.size());
  if (count <= vocab_size) return;
  Diagnostic problem("E0205", concat("the tokenizer has ", count, " pieces, the embedding ", vocab_size, " rows"));
  problem.at(name_);
  constexpr std::int64_t kShown = 4;
  std::string extra;
  for (std::int64_t id = std::max<std::int64_t>(vocab_size, 0); id < std::min(count, vocab_size + kShown); ++id) {
    extra += concat(extra.empty() ? "" : ", ", id, " `",
                    escape_for_log(model_.pieces[static_cast<std::size_t>(id)].text), '`');
  }
  if (!extra.empty()) problem.note("ids without a row: " + extra + (count > vocab_size + kShown ? ", ..." : ""));
  throw Error(problem.help("use the tokenizer.model that came beside the weights"));
}

}  // namespace

std::string byte_piece(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + '>';
}

TokenizerModel parse_tokenizer_model(std::string_view bytes, const std::string& name,
                                     std::optional<std::int64_t> vocab_size) {
  ModelReader reader(bytes, name);
  reader.read();
  if (vocab_size) reader.check_count(*vocab_size);
  TokenizerModel model = reader.take();
  find_blockml_pieces(model, name);
  return model;
}

}  // namespace shori
