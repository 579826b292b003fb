// The validator of tokenizer.model: each rule with files written by hand.
#include "shori/data/tokenizer_model.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

#include "shori/data/tokenizer.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "tests/support/environment.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 128; value /= 128) out += static_cast<char>(value % 128 + 128);
  return out + static_cast<char>(value);
}
std::string number(unsigned field, std::int64_t value) {
  return varint(field * 8) + varint(static_cast<std::uint64_t>(value));
}
std::string bytes(unsigned field, const std::string& value) {
  return varint(field * 8 + 2) + varint(value.size()) + value;
}
std::string score(float value) {
  std::string out = varint(2 * 8 + 5);
  return out.append(reinterpret_cast<const char*>(&value), 4);
}
std::string piece(const std::string& text, int type = 1, float value = 0) {
  return bytes(1, bytes(1, text) + score(value) + number(3, type));
}

struct Parts {
  std::string pieces;
  std::string trainer = number(3, 2) + number(35, 1);
  std::string normalizer = bytes(1, "identity") + number(3, 1) + number(4, 0) + number(5, 1);
  std::string rest;
  std::string file() const { return pieces + bytes(2, trainer) + bytes(3, normalizer) + rest; }
};

const std::string kSpecial = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3);

std::string byte_pieces(int left_out = -1) {
  std::string out;
  char name[8];
  for (int byte = 0; byte < 256; ++byte) {
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    if (byte != left_out) out += piece(name, 6);
  }
  return out;
}

// A small model that is in order: 265 pieces.
Parts good() {
  Parts parts;
  parts.pieces = kSpecial + byte_pieces() + piece("▁", 1, -1) + piece("▀", 1, -2) + piece("▄", 1, -3) +
                 piece("a", 1, -4) + piece("b", 1, -5) + piece("ab", 1, 0);
  return parts;
}

struct Refusal {
  std::string code, message, note;
};
Refusal refusal(const std::string& file, std::optional<std::int64_t> vocab_size = std::nullopt) {
  try {
    parse_tokenizer_model(file, "folder/tokenizer.model", vocab_size);
  } catch (const Error& error) {
    const Diagnostic& problem = error.diagnostics().front();
    return {problem.code, problem.message, problem.notes.empty() ? "" : problem.notes.front()};
  }
  return {"accepted", "", ""};
}
void expect_rule(const std::string& file, int rule, const std::string& what) {
  const Refusal refused = refusal(file);
  EXPECT_EQ(refused.code, "E0211") << what;
  EXPECT_EQ(refused.note, "rule T" + std::to_string(rule)) << what << ": " << refused.message;
  EXPECT_NE(refused.message.find(what), std::string::npos) << refused.message;
  EXPECT_TRUE(refused.message.starts_with("tokenizer.model, byte ")) << refused.message;
}

TEST(TokenizerModel, GoldenFileWithANulIsRefusedAtItsByte) {
  const std::string file = from_hex(
      "0a0e0a053c756e6b3e150000000018020a0c0a033c733e150000000018030a0d0a043c2f733e150000000018030a080a010015000080bf12"
      "0218011a00");
  ASSERT_EQ(sha256_hex(file), "ec5e22dbdc39182c847a326c8ec94470a709e718cb1e02ccce3967ce1c802c8a");
  const Refusal refused = refusal(file);
  EXPECT_EQ(refused.code, "E0211");
  EXPECT_EQ(refused.message, "tokenizer.model, byte 48: piece 3 contains a NUL");
  EXPECT_EQ(refused.note, "rule T4");
}

TEST(TokenizerModel, GoldenFileOfAnotherModelTypeIsRefusedForThatOnly) {
  const std::string file = from_hex(
      "0a0e0a053c756e6b3e150000000018020a0c0a033c733e150000000018030a0d0a043c2f733e150000000018030a080a016115000080bf0a"
      "0a0a03e2968115000000c00a08"
      "0a016215000040c0120218011a00");
  ASSERT_EQ(sha256_hex(file), "21f92d823e625bdef981a8e30ffa76bf69c07cc054b4312da3f777ce717b833d");
  expect_rule(file, 5, "model_type is 1");
  std::string bpe = file;
  bpe[bpe.size() - 3] = 2;
  EXPECT_EQ(refusal(bpe).code, "E0206");  // in order, but without block marks
}

TEST(TokenizerModel, FilesThatCrashTheLibraryAreRefused) {
  struct Table {
    std::string unit, sha256, why;
  };
  const Table tables[] = {
      {.unit = "ffffffff",
       .sha256 = "d5354bc82d2a5fab72ff3eb30c82bab74322159838972257b3dab82f8c447012",
       .why = "every bit is set"},
      {.unit = "ffffff7f",
       .sha256 = "de7500d8fbea01f68f11de4d2466ed326b8a8cd1b66f86871bdde6ee7085dc9a",
       .why = "every bit but the highest"},
      {.unit = "00fcffff",
       .sha256 = "5faf7190c5b71b4739fa357a8aee207fdc4fad14ba51bbf63afbdab210650c90",
       .why = "the largest offset alone"},
  };
  for (const auto& [unit, hash, why] : tables) {
    std::string map = from_hex("00040000");
    for (int i = 0; i < 256; ++i) map += from_hex(unit);
    map += std::string("x\0", 2);
    // These golden files leave the type out where it is NORMAL.
    const std::string golden =
        kSpecial + bytes(1, bytes(1, "a") + score(-1)) + bytes(2, number(3, 1)) + bytes(3, bytes(2, map));
    EXPECT_EQ(sha256_hex(golden), hash) << why;
    expect_rule(golden, 3, "precompiled_charsmap");
  }
  Parts long_piece = good();
  long_piece.pieces += piece(std::string(500000, 'x'));
  expect_rule(long_piece.file(), 4, "longer than 256 bytes");
}

TEST(TokenizerModel, AcceptsAGoodFileAndNumbersItsMarks) {
  const TokenizerModel model = parse_tokenizer_model(good().file(), "m", 265);
  EXPECT_EQ(model.pieces.size(), 265u);
  EXPECT_EQ(model.open_id, 260);
  EXPECT_EQ(model.close_id, 261);
  EXPECT_EQ(model.newline_id, 13);
  EXPECT_EQ(model.pieces[264].text, "ab");
  EXPECT_EQ(model.pieces[262].score, -4.0f);
  const Tokenizer tokenizer = Tokenizer::from_bytes(good().file(), "m");
  EXPECT_EQ(tokenizer.encode("▀ab a\n▄"), (std::vector<std::int32_t>{259, 260, 264, 259, 262, 13, 261}));
}

TEST(TokenizerModel, CanonicalBytesHoldOnlyWhatWasUnderstood) {
  Parts parts = good();
  parts.trainer =
      number(1, 99) + number(3, 1) + parts.trainer + bytes(7, "junk");  // unknown fields, and one that is set twice
  parts.rest = bytes(4, "self test data") + bytes(200, "extension");
  const std::string canonical = serialize_tokenizer_model(parse_tokenizer_model(parts.file(), "m"));
  EXPECT_EQ(canonical, serialize_tokenizer_model(parse_tokenizer_model(good().file(), "m")));
  EXPECT_EQ(canonical, serialize_tokenizer_model(parse_tokenizer_model(canonical, "m")));
  EXPECT_EQ(canonical.find("junk"), std::string::npos);

  const InputFile real = InputFile::open(required_variable("SHORI_TOKENIZER"));
  const std::string mistral =
      serialize_tokenizer_model(parse_tokenizer_model(read_whole_file(real, 1 << 20, "E0211"), "m", 32000));
  EXPECT_EQ(mistral, serialize_tokenizer_model(parse_tokenizer_model(mistral, "m", 32000)));
}

TEST(TokenizerModel, T1WireFormat) {
  const std::string file = good().file();
  expect_rule(file + "\x0B", 1, "wire type 3");
  expect_rule(file + "\x0C", 1, "wire type 4");
  expect_rule(file + "\x0E", 1, "wire type 6");
  expect_rule(file + "\x0F", 1, "wire type 7");
  expect_rule(file + std::string("\x00\x00", 2), 1, "no such field number");
  expect_rule(file + number(1, 5), 1, "wrong wire type");
  expect_rule(file +
                  "\x22\x05"
                  "abc",
              1, "a length reaches past the end");
  expect_rule(file + "\x22\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 1, "a length reaches past the end");
  expect_rule(file + "\x22\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 1, "more than 64 bits");
  expect_rule(file + std::string("\x22\x80\x00", 3), 1, "longer than it need be");
  expect_rule(file + "\x20", 1, "a number is cut off");
  expect_rule(file + "\x25\x01\x02", 1, "a number is cut off");
  Parts parts = good();
  parts.trainer += number(35, 2);
  expect_rule(parts.file(), 1, "neither 0 nor 1");
  parts = good();
  parts.trainer += number(3, std::int64_t{1} << 40);
  expect_rule(parts.file(), 1, "out of range");
}

TEST(TokenizerModel, T2AndT3SpecsOnceAndWithoutRules) {
  const std::string file = good().file();
  expect_rule(file + bytes(2, ""), 2, "second trainer_spec");
  expect_rule(file + bytes(3, ""), 2, "second normalizer_spec");
  expect_rule(file + bytes(5, number(3, 0)), 3, "denormalizer_spec");
  EXPECT_EQ(refusal(file + bytes(5, "")).code, "accepted");
  Parts parts = good();
  parts.normalizer += bytes(6, "a\tb");
  expect_rule(parts.file(), 3, "rule_tsv");
  parts = good();
  parts.normalizer += bytes(2, "x") + bytes(2, "");
  expect_rule(parts.file(), 3, "precompiled_charsmap");
}

TEST(TokenizerModel, T4Pieces) {
  const auto with = [](const std::string& extra) {
    Parts parts = good();
    parts.pieces += extra;
    return parts.file();
  };
  expect_rule(with(piece("")), 4, "piece 265 is empty");
  expect_rule(with(bytes(1, score(0))), 4, "piece 265 is empty");
  expect_rule(with(piece("\xFF")), 4, "not UTF-8");
  expect_rule(with(piece("a")), 4, "piece 265 is the same as piece 262");
  expect_rule(with(piece("c", 0)), 4, "unknown type 0");
  expect_rule(with(piece("c", 7)), 4, "unknown type 7");
  expect_rule(with(piece("c", 1, std::numeric_limits<float>::infinity())), 4, "not finite");
  expect_rule(with(piece("c", 1, std::numeric_limits<float>::quiet_NaN())), 4, "not finite");
  EXPECT_EQ(refusal(with(piece(std::string(256, 'c')))).code, "accepted");
  std::string many;
  for (std::size_t i = 0; i <= kTokenizerPieces; ++i) many += piece("p" + std::to_string(i));
  expect_rule(many, 4, "more than 131,072 pieces");
}

TEST(TokenizerModel, T5AndT6ModelTypeSpecialAndBytePieces) {
  Parts parts = good();
  parts.trainer = number(35, 1);
  expect_rule(parts.file(), 5, "model_type is 1");
  parts = good();
  parts.pieces += piece("<unk2>", 2);
  expect_rule(parts.file(), 6, "second UNKNOWN");
  parts.pieces = piece("x") + piece("<s>", 3) + piece("</s>", 3) + byte_pieces();
  expect_rule(parts.file(), 6, "no UNKNOWN");
  parts.pieces = piece("<unk>", 2) + piece("<s>", 1) + piece("</s>", 3) + byte_pieces();
  expect_rule(parts.file(), 6, "piece 1 is not the control piece `<s>`");
  parts.pieces = piece("<unk>", 2) + piece("</s>", 3) + piece("<s>", 3) + byte_pieces();
  expect_rule(parts.file(), 6, "piece 1 is not the control piece `<s>`");
  parts.pieces = piece("<unk>", 2);
  expect_rule(parts.file(), 6, "no piece 1");
  parts.pieces = kSpecial + byte_pieces(0x41);
  expect_rule(parts.file(), 6, "no byte piece `<0x41>`");
  parts.pieces = kSpecial + byte_pieces() + piece("<0x4a>", 6);
  expect_rule(parts.file(), 6, "piece 259 is a byte piece too many");
  parts = good();
  parts.trainer = number(3, 2);
  expect_rule(parts.file(), 6, "piece 3 is a byte piece too many");
  parts = good();
  parts.trainer += number(41, -1);
  expect_rule(parts.file(), 6, "trainer_spec");
}

TEST(TokenizerModel, T7BlockMarksAreSinglePieces) {
  Parts parts = good();
  parts.pieces = kSpecial + byte_pieces() + piece("▁") + piece("▀");
  Refusal refused = refusal(parts.file());
  EXPECT_EQ(refused.code, "E0206");
  EXPECT_EQ(refused.message, "U+2584 is 3 tokens in this tokenizer, BlockML needs 1");
  EXPECT_EQ(refused.note, "ids 229 153 135");
  parts.pieces = kSpecial + byte_pieces() + piece("▁") + piece("▄");
  EXPECT_EQ(refusal(parts.file()).note, "ids 229 153 131");
  for (const char* longer : {"▁▀", "▄▄", "a\n"}) {
    parts = good();
    parts.pieces += piece(longer);
    EXPECT_EQ(refusal(parts.file()).code, "E0206") << longer;
  }
  parts = good();
  parts.pieces = kSpecial + byte_pieces() + piece("▁") + piece("▀", 3) + piece("▄");
  EXPECT_EQ(refusal(parts.file()).code, "E0206");
  parts.pieces = kSpecial + byte_pieces() + piece("▀") + piece("▄");
  EXPECT_EQ(refusal(parts.file()).code, "E0206");
  parts.pieces = kSpecial + piece("▁") + piece("▀") + piece("▄");
  parts.trainer = number(3, 2);
  EXPECT_EQ(refusal(parts.file()).code, "E0206");
}

TEST(TokenizerModel, WhiteSpaceMustBeKept) {
  for (const std::string& change : {number(3, 0), number(4, 1), number(5, 0)}) {
    Parts parts = good();
    parts.normalizer += change;
    EXPECT_EQ(refusal(parts.file()).code, "E0206");
  }
  Parts parts = good();
  parts.trainer += number(24, 1);
  EXPECT_EQ(refusal(parts.file()).code, "E0206");
}

TEST(TokenizerModel, EveryPieceNeedsARow) {
  const Refusal refused = refusal(good().file(), 263);
  EXPECT_EQ(refused.code, "E0205");
  EXPECT_EQ(refused.message, "the tokenizer has 265 pieces, the embedding 263 rows");
  EXPECT_EQ(refused.note, "ids without a row: 263 `b`, 264 `ab`");
  EXPECT_EQ(refusal(good().file(), 266).code, "accepted") << "rows that no text reaches: added tokens, padding";
}

TEST(TokenizerModel, AControlPieceOfOneCharacterTakesAwayThatCharacter) {
  for (const char* text : {"$", "é", "🙂"}) {
    Parts parts = good();
    parts.pieces += piece(text, 3);
    EXPECT_EQ(refusal(parts.file()).code, "E0206") << text;
    EXPECT_EQ(refusal(parts.file()).message, concat("the control piece 265 is the single character `", text, "`"));
  }
  Parts parts = good();
  parts.pieces += piece("$$", 3);
  EXPECT_EQ(refusal(parts.file()).code, "accepted");
}

TEST(TokenizerModel, EveryTruncationIsRefused) {
  const std::string file = good().file();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const Refusal refused = refusal(file.substr(0, size));
    ASSERT_TRUE(refused.code == "E0211" || refused.code == "E0206") << size << refused.code;
  }
}

TEST(TokenizerModel, DamagedFilesAreRefusedOrStillEncode) {
  const std::string file = good().file();
  std::mt19937 random(5);
  std::size_t accepted = 0;
  for (int i = 0; i < 6000; ++i) {
    std::string damaged = file;
    for (std::size_t n = 1 + random() % 3; n > 0; --n) damaged[random() % file.size()] = static_cast<char>(random());
    if (refusal(damaged).code != "accepted") continue;
    ++accepted;
    if (accepted % 20 != 0) continue;
    const EncodedText encoded = Tokenizer::from_bytes(damaged, "m").encode_with_offsets("▀ab \n▄ é");
    EXPECT_EQ(encoded.ends.back(), 13u);
  }
  EXPECT_GT(accepted, 100u);
}

}  // namespace
}  // namespace shori
