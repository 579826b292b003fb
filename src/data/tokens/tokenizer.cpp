#include "shori/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>
#include <new>

#include "shori/data/tokenizer_model.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "src/data/tokens/special_pieces.h"
#include "src/data/tokens/word_bpe.h"
#include "src/data/tokens/word_cache.h"

namespace shori {
namespace {

constexpr std::size_t kChunkBytes = 4096;

std::uint32_t count_space_marks(std::string_view piece) {
  std::uint32_t count = 0;
  for (std::size_t at = piece.find(kSpaceMark); at != std::string_view::npos; at = piece.find(kSpaceMark, at + 1))
    ++count;
  return count;
}

std::uint32_t code_point_bytes(char first) {
  const unsigned char byte = static_cast<unsigned char>(first);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// transformers 5 saves tokenizer.json alone, and the repository of Mistral 7B v0.3 has its file under two names.
[[noreturn]] void refuse_missing(const std::string& path, std::optional<std::int64_t> rows) {
  constexpr std::int64_t kRowsOfV03 = 32768;
  const std::string folder = parent_path(path);
  Diagnostic problem("E0203", quoted_path(path) + " does not exist");
  if (path_exists(join_path(folder, "tokenizer.json")))
    problem.note("tokenizer.json is there, but is not read: transformers 5 saves only that one");
  const std::string copy = join_path(folder, "tokenizer.model.v3");
  if (!snapshot_id(folder).empty()) {
    problem.help(download_help(folder, {"tokenizer.model"}));
  } else if (path_exists(copy)) {
    problem.help(concat("`cp ", shell_word(copy), " ", shell_word(path), "`"));
  } else if (file_name(path) == "tokenizer.model") {
    const char* base = rows == kRowsOfV03 ? "mistralai/Mistral-7B-v0.3" : "mistralai/Mistral-7B-v0.1";
    problem.help(
        concat("put the tokenizer.model of the base that this model was made from beside the weights: `hf download ",
               base, " tokenizer.model --local-dir ", shell_word(folder), "`"));
  }
  throw Error(problem);
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
  TokenizerModel model;
  SpecialPieces special;
  std::string sha256;
  std::vector<std::uint32_t> surface_bytes;  // of a piece in a text where each ▁ is a space

  mutable std::optional<WordCachePool> word_caches;
  std::string word_cache_obstacle;

  const TokenizerPiece& at(std::int32_t id) const;
  std::vector<std::int32_t> encode(std::string_view text) const;
  void append_text(std::string_view text, bool dummy_prefix, std::vector<std::int32_t>& ids) const;
  void append_by_words(std::string_view text, bool dummy_prefix, std::vector<std::int32_t>& ids) const;
  void append_by_library(std::string_view text, bool dummy_prefix, std::vector<std::int32_t>& ids) const;
  void append_chunk(std::string_view chunk, bool dummy_prefix, std::vector<std::int32_t>& ids) const;
  bool is_byte(std::int32_t id) const { return model.pieces[static_cast<std::size_t>(id)].type == PieceType::kByte; }
  std::uint32_t literal_bytes(std::string_view piece, std::string_view text, std::uint32_t at) const;
};

// Appends the ids of a chunk. Without the dummy prefix, the library gets the chunk after a newline, which nothing merges
// with, and the ids of both are left out.
void Tokenizer::Impl::append_chunk(std::string_view chunk, bool dummy_prefix, std::vector<std::int32_t>& ids) const {
  static_assert(sizeof(int) == sizeof(std::int32_t));
  std::vector<int> chunk_ids;
  const bool has_newline = chunk.starts_with('\n');
  const std::string after_newline = dummy_prefix || has_newline ? "" : concat("\n", chunk);
  const auto status = processor.Encode(after_newline.empty() ? chunk : after_newline, &chunk_ids);
  if (status.code() == sentencepiece::util::StatusCode::kResourceExhausted) throw std::bad_alloc();
  SHORI_CHECK(status.ok(), "SentencePiece: " + status.ToString());
  const std::size_t left_out = dummy_prefix ? 0 : has_newline ? 1 : 2;
  SHORI_CHECK(left_out == 0 || model.pieces[static_cast<std::size_t>(chunk_ids.at(left_out - 1))].text ==
                                   (left_out == 1 ? kSpaceMark : "<0x0A>"),
              "no dummy prefix");
  ids.insert(ids.end(), chunk_ids.begin() + static_cast<std::ptrdiff_t>(left_out), chunk_ids.end());
}

// No piece holds a newline, so no merge crosses one: a text may be encoded in chunks that begin with a newline, without
// the dummy prefix of each. The library slows down on long texts (three times at 1 MB), chunks do not.
void Tokenizer::Impl::append_by_library(std::string_view text, bool dummy_prefix,
                                        std::vector<std::int32_t>& ids) const {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin + kChunkBytes), text.size());
    append_chunk(text.substr(begin, end - begin), dummy_prefix && begin == 0, ids);
    begin = end;
  }
}

// Line by line, each but the first with its newline in front: only the lines that the cache does not cover go to the
// library.
void Tokenizer::Impl::append_by_words(std::string_view text, bool dummy_prefix, std::vector<std::int32_t>& ids) const {
  std::unique_ptr<WordCache> cache = word_caches->take();
  std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view first = text.substr(0, end);
  const std::string prefixed = dummy_prefix ? concat(" ", first) : std::string(first);
  if (!cache->append(prefixed, ids)) append_chunk(first, dummy_prefix, ids);
  while (end < text.size()) {
    const std::size_t begin = end;
    end = std::min(text.find('\n', begin + 1), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (!cache->append(line, ids)) append_chunk(line, false, ids);
  }
  word_caches->give_back(std::move(cache));
}

void Tokenizer::Impl::append_text(std::string_view text, bool dummy_prefix, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  word_caches ? append_by_words(text, dummy_prefix, ids) : append_by_library(text, dummy_prefix, ids);
}

// The dummy prefix belongs to the start of the text: a mark there has none, and neither has what follows a mark.
std::vector<std::int32_t> Tokenizer::Impl::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  std::size_t begin = 0;
  while (const auto mark = special.find_mark(text, begin)) {
    append_text(text.substr(begin, mark->at - begin), begin == 0, ids);
    ids.push_back(mark->id);
    begin = mark->at + mark->bytes;
  }
  append_text(text.substr(begin), begin == 0, ids);
  return ids;
}

// Bytes of `text` at `at` that `piece` covers where the text itself may hold ▁, which is encoded like a space.
std::uint32_t Tokenizer::Impl::literal_bytes(std::string_view piece, std::string_view text, std::uint32_t at) const {
  const std::uint32_t begin = at;
  while (!piece.empty()) {
    const bool mark = piece.starts_with(kSpaceMark);
    at += mark && !text.substr(std::min<std::size_t>(at, text.size())).starts_with(kSpaceMark) ? 1 : mark ? 3 : 1;
    piece.remove_prefix(mark ? kSpaceMark.size() : 1);
  }
  return at - begin;
}

Tokenizer Tokenizer::from_bytes(std::string_view bytes, const std::string& name,
                                std::optional<std::int64_t> vocab_size) {
  auto impl = std::make_shared<Impl>();
  impl->model = parse_tokenizer_model(bytes, name, vocab_size);
  impl->special = SpecialPieces(impl->model);
  impl->sha256 = sha256_hex(bytes);
  const auto status = impl->processor.LoadFromSerializedProto(serialize_tokenizer_model(impl->model));
  if (!status.ok()) {
    throw Error(Diagnostic("E0211", "the tokenizer library refuses the file: " + status.ToString())
                    .at(name)
                    .help("get `tokenizer.model` again from the model's publisher"));
  }
  for (const TokenizerPiece& piece : impl->model.pieces) {
    impl->surface_bytes.push_back(static_cast<std::uint32_t>(piece.text.size()) - 2 * count_space_marks(piece.text));
  }
  impl->word_cache_obstacle = find_word_obstacle(impl->model).value_or("");
  if (impl->word_cache_obstacle.empty()) impl->word_caches.emplace(impl->model);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load(const std::string& path, std::optional<std::int64_t> vocab_size) {
  if (!leads_to_something(path)) refuse_missing(path, vocab_size);
  const InputFile file = InputFile::open(path);
  if (file.size() == 0)
    throw Error(Diagnostic("E0203", quoted_path(path) + " is empty").at(path).help(replace_help(path)));
  return from_bytes(read_whole_file(file, kTokenizerFileBytes, "E0211"), path, vocab_size);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const { return impl_->encode(text); }

EncodedText Tokenizer::encode_with_offsets(std::string_view text) const {
  SHORI_CHECK(text.size() < std::numeric_limits<std::uint32_t>::max(), "text of 4 GiB or more");
  EncodedText result;
  result.ids = impl_->encode(text);
  result.ends.reserve(result.ids.size());
  const bool plain = text.find(kSpaceMark) == std::string_view::npos;
  std::uint32_t end = 0;
  std::uint32_t bytes_of_character = 0;  // byte tokens seen of the one that is not whole yet
  for (std::size_t i = 0; i < result.ids.size(); ++i) {
    const std::int32_t id = result.ids[i];
    if (impl_->is_byte(id)) {
      SHORI_CHECK(end < text.size(), "byte token after the end of the text");
      if (++bytes_of_character == code_point_bytes(text[end])) {
        end += bytes_of_character;
        bytes_of_character = 0;
      }
    } else if (impl_->special.is_mark(id)) {
      end += static_cast<std::uint32_t>(piece(id).size());
    } else if (i == 0) {  // its first ▁ is the dummy prefix
      end += impl_->literal_bytes(piece(id).substr(kSpaceMark.size()), text, end);
    } else {
      end += plain ? impl_->surface_bytes[static_cast<std::size_t>(id)] : impl_->literal_bytes(piece(id), text, end);
    }
    result.ends.push_back(end);
  }
  SHORI_CHECK(end == text.size(), concat("surfaces end at ", end, " of ", text.size()));
  return result;
}

std::optional<std::pair<std::size_t, std::string_view>> Tokenizer::find_control_text(std::string_view text) const {
  return impl_->special.find_control_text(text);
}

const TokenizerPiece& Tokenizer::Impl::at(std::int32_t id) const {
  SHORI_CHECK(id >= 0 && static_cast<std::size_t>(id) < model.pieces.size(),
              concat("id ", id, " outside the vocabulary"));
  return model.pieces[static_cast<std::size_t>(id)];
}

std::string_view Tokenizer::piece(std::int32_t id) const { return impl_->at(id).text; }
PieceType Tokenizer::piece_type(std::int32_t id) const { return impl_->at(id).type; }
const std::string& Tokenizer::unknown_surface() const { return impl_->model.unk_surface; }

std::int64_t Tokenizer::vocab_size() const { return static_cast<std::int64_t>(impl_->model.pieces.size()); }
std::int32_t Tokenizer::open_id() const { return impl_->model.open_id; }
std::int32_t Tokenizer::close_id() const { return impl_->model.close_id; }
std::int32_t Tokenizer::newline_id() const { return impl_->model.newline_id; }
std::int32_t Tokenizer::space_id() const { return impl_->model.space_id; }
const std::string& Tokenizer::sha256() const { return impl_->sha256; }
bool Tokenizer::uses_word_cache() const { return impl_->word_caches.has_value(); }
const std::string& Tokenizer::word_cache_obstacle() const { return impl_->word_cache_obstacle; }

}  // namespace shori
