#include "shori/util/utf8.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace shori {
namespace {

std::string encode(std::uint32_t value, std::size_t bytes) {
  std::string out;
  for (std::size_t i = 1; i < bytes; ++i) {
    out.insert(out.begin(), static_cast<char>(0x80 | (value & 0x3f)));
    value >>= 6;
  }
  const std::array<std::uint8_t, 5> lead = {0, 0, 0xc0, 0xe0, 0xf0};
  out.insert(out.begin(), static_cast<char>(lead[bytes] | value));
  return out;
}

TEST(Utf8, AcceptsExactlyTheShortestFormOfEveryScalarValue) {
  for (std::uint32_t value = 0; value <= 0x110400; value += value < 0x900 ? 1 : 13) {
    const std::size_t shortest = value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
    const bool scalar = value <= 0x10ffff && !(value >= 0xd800 && value < 0xe000);
    for (std::size_t bytes = shortest; bytes <= 4; ++bytes) {
      const std::string text = encode(value, bytes);
      EXPECT_EQ(!find_invalid_utf8(text).has_value(), scalar && bytes == shortest)
          << std::hex << value << " in " << bytes;
    }
    if (!scalar) continue;
    const CodePoint point = code_point_at(encode(value, shortest), 0);
    EXPECT_EQ(point.value, value);
    EXPECT_EQ(point.bytes, shortest);
  }
}

TEST(Utf8, NamesTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8("plain text of more than eight bytes \x93quoted\x94"), 36u);
  EXPECT_EQ(find_invalid_utf8("▀ok\xe2\x96"), 5u);       // truncated
  EXPECT_EQ(find_invalid_utf8("\x80"), 0u);              // continuation alone
  EXPECT_EQ(find_invalid_utf8("a\xed\xa0\x80"), 1u);     // surrogate
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0u);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xff\xfe"), 0u);
  EXPECT_EQ(find_invalid_utf8("▀ ▄ é 🎲"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
}

TEST(Utf8, ACharacterMayComeInParts) {
  for (const char* part : {"\xc3", "\xe2\x96", "\xe0\xa0", "\xed\x9f", "\xf0\x9f\x8e", "\xf4\x8f"})
    EXPECT_TRUE(is_begin_of_character(part)) << part;
  for (const char* part : {"a", "\x80", "\xc3\xa9", "\xe2\x41", "\xe0\x80", "\xed\xa0", "\xf4\x90", "\xff"})
    EXPECT_FALSE(is_begin_of_character(part)) << part;
}

TEST(Utf8, PositionsCountCodePoints) {
  const std::string text = "one\n▀message é!\n\nend";
  const TextPosition mark = position_of(text, text.find('!'));
  EXPECT_EQ(mark.line, 2u);
  EXPECT_EQ(mark.column, 11u);
  EXPECT_EQ(mark.line_text, "▀message é!");
  const TextPosition end = position_of(text, text.size());
  EXPECT_EQ(end.line, 4u);
  EXPECT_EQ(end.column, 4u);
  const TextPosition newline = position_of(text, 3);
  EXPECT_EQ(newline.line, 1u);
  EXPECT_EQ(newline.column, 4u);
  EXPECT_EQ(newline.line_text, "one");
  EXPECT_EQ(position_of("", 0).line, 1u);
  EXPECT_EQ(count_code_points("a▀é🎲"), 4u);
}

TEST(EscapeForLog, MakesHiddenCharactersVisible) {
  EXPECT_EQ(escape_for_log("a\x1b[31mb\n\t\x7f"), "a\\x1b[31mb\\x0a\\x09\\x7f");
  EXPECT_EQ(escape_for_log("\xc2\x9b!"), "\\x9b!");  // C1: another way to write ESC [
  EXPECT_EQ(escape_for_log("x\xe2\x80\xae"
                           "y\xe2\x81\xa6z"),
            "x\\u202ey\\u2066z");                  // text direction
  EXPECT_EQ(escape_for_log("é\xff▀"), "é\\xff▀");  // not UTF-8
  EXPECT_EQ(escape_for_log(escape_for_log("\x1b")), "\\x1b");
}

TEST(EscapeForLog, CutsByCodePoints) {
  EXPECT_EQ(escape_for_log("▀▀▀▀", 4), "▀▀▀▀");
  EXPECT_EQ(escape_for_log("▀▀▀▀", 3), "▀▀▀...");
  EXPECT_EQ(escape_for_log(std::string(100, 'a')).size(), 83u);
}

TEST(FindSimilarName, KnowsMistypedFoldedAndScrambledNames) {
  const std::vector<std::string_view> keys = {"lora_alpha",   "lora_r",    "learning_rate",
                                              "sequence_len", "max_steps", "seed"};
  EXPECT_EQ(find_similar_name("lora_apha", keys), "lora_alpha");
  EXPECT_EQ(find_similar_name("lora_aplha", keys), "lora_alpha");  // swapped neighbours
  EXPECT_EQ(find_similar_name("lora_aplh", keys), "lora_alpha");   // the swap is one edit of the two that are allowed
  EXPECT_EQ(find_similar_name("Lora-Alpha", keys), "lora_alpha");
  EXPECT_EQ(find_similar_name("rate_learning", keys), "learning_rate");
  EXPECT_EQ(find_similar_name("sequence_length", keys), "");  // three edits
  EXPECT_EQ(find_similar_name("weight_decay", keys), "");
  EXPECT_EQ(find_similar_name("", keys), "");
}

TEST(FindSimilarName, PrefersTheClosestThenTheFirstByName) {
  const std::vector<std::string> names = {"stage_c", "stage_a", "stage_bb"};
  EXPECT_EQ(find_similar_name("stage_b", names), "stage_a");
  EXPECT_EQ(find_similar_name("STAGE-BB", names), "stage_bb");
  EXPECT_EQ(find_similar_name("xy", std::vector<std::string>{"ab"}), "");
}

}  // namespace
}  // namespace shori
