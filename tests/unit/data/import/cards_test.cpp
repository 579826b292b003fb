// Card files, macros, log lines, and what a file is by its content.
#include "src/data/import/cards.h"

#include <gtest/gtest.h>

#include "src/data/sources/log_lines.h"
#include "src/data/sources/recognize.h"

namespace shori {
namespace {

TEST(Base64, TextsOfAllLengths) {
  struct Case {
    std::string text, bytes, why;
  };
  const Case cases[] = {
      {.text = "", .bytes = "", .why = "no bytes"},
      {.text = "Zg==", .bytes = "f", .why = "1 byte"},
      {.text = "Zm8=", .bytes = "fo", .why = "2 bytes"},
      {.text = "Zm9v", .bytes = "foo", .why = "3 bytes"},
      {.text = "Zm9vYg", .bytes = "foob", .why = "4 bytes, not padded"},
      {.text = "Zm9vYmE", .bytes = "fooba", .why = "5 bytes, not padded"},
      {.text = "Zm9v\nYmFy", .bytes = "foobar", .why = "a line end inside"},
      {.text = "-_8=", .bytes = "\xFB\xFF", .why = "the alphabet of URLs"},
      {.text = "+/8=", .bytes = "\xFB\xFF", .why = "the plain alphabet"},
  };
  for (const auto& [text, bytes, why] : cases) EXPECT_EQ(decode_base64(text), bytes) << why;
  for (const char* bad : {"Z", "Zm9v*", "Zg==Zg", "é"}) EXPECT_FALSE(decode_base64(bad)) << bad;
}

std::string chunk(const std::string& type, const std::string& data) {
  std::string size(4, '\0');
  for (std::size_t i = 0; i < 4; ++i) size[i] = static_cast<char>(data.size() >> (24 - 8 * i) & 0xFF);
  return size + type + data + "CRC!";
}

const std::string kPng = "\x89PNG\r\n\x1A\n" + chunk("IHDR", std::string(13, '\0'));
std::string text_chunk(const std::string& keyword, const std::string& base64) {
  return chunk("tEXt", keyword + std::string(1, '\0') + base64);
}

TEST(PngCard, TheNewestVersionCounts) {
  std::string problem;
  EXPECT_EQ(read_png_card(kPng + text_chunk("chara", "Zm8="), problem), "fo");
  EXPECT_EQ(read_png_card(kPng + text_chunk("ccv3", "Zg==") + text_chunk("chara", "Zm8="), problem), "f");
  EXPECT_EQ(read_png_card(kPng + text_chunk("Chara", "Zm8=") + text_chunk("ccv3", "Zg=="), problem), "f");
}

TEST(PngCard, EveryDamageHasItsName) {
  struct Case {
    std::string png, word, why;
  };
  const Case cases[] = {
      {.png = "JPEG", .word = "no PNG", .why = "another kind of file"},
      {.png = kPng, .word = "no character card", .why = "a picture alone"},
      {.png = kPng + text_chunk("Comment", "Zg=="), .word = "no character card", .why = "a text that is no card"},
      {.png = kPng + text_chunk("chara", "Z"), .word = "not base64", .why = "a card of wrong characters"},
      {.png = kPng + chunk("zTXt", std::string("chara\0\0x", 8)), .word = "zTXt", .why = "a card that is compressed"},
      {.png = kPng + std::string("\0\0\1\0tEXtchara\0Zg==", 18),
       .word = "cut off",
       .why = "a chunk longer than the file"},
  };
  for (const auto& [png, word, why] : cases) {
    std::string problem;
    EXPECT_FALSE(read_png_card(png, problem)) << why;
    EXPECT_NE(problem.find(word), std::string::npos) << problem;
  }
}

TEST(Macros, NamesAndTheRest) {
  ImportReport report;
  const MacroNames names{"Ilario", "Mira", "Mira, Tam"};
  struct Case {
    std::string text, expanded, why;
  };
  const Case cases[] = {
      {.text = "{{user}} and {{ CHAR }}", .expanded = "Ilario and Mira", .why = "names, in any case and with spaces"},
      {.text = "<USER> <BOT> <b>", .expanded = "Ilario Mira <b>", .why = "the older spelling"},
      {.text = "a\n{{trim}}\n\nb", .expanded = "ab", .why = "white space is trimmed"},
      {.text = "{{group}}{{noop}}{{// x}}", .expanded = "Mira, Tam", .why = "a group, nothing and a comment"},
      {.text = "{{random::a::b}} {{pick:c,d}}", .expanded = "a c", .why = "the first of several"},
      {.text = "{{time}} {{user",
       .expanded = "{{time}} {{user",
       .why = "values that only a chat has, and a macro that does not end"},
      {.text = "{{newline}}", .expanded = "\n", .why = "a newline"},
  };
  for (const auto& [text, expanded, why] : cases) EXPECT_EQ(expand_macros(text, names, report), expanded) << why;
  EXPECT_EQ(expand_macros("{{user}} {{char}} <BOT>", {}, report), "{{user}} {{char}} <BOT>");
  EXPECT_EQ(report.changes.at("macros without a value in the files, kept"), 3u);
}

TEST(LogLines, SpeakersAreNames) {
  const auto speaker = [](std::string_view line) {
    const std::optional<LogLine> found = read_log_line(line);
    return found ? std::string(found->speaker) : std::string();
  };
  EXPECT_EQ(speaker("Old Tam: hello"), "Old Tam");
  EXPECT_EQ(speaker("[12:30] Tam: hello"), "Tam");
  EXPECT_TRUE(read_log_line("[12:30] Tam: hello")->has_time);
  EXPECT_FALSE(read_log_line("Tam: at [12:30]")->has_time);
  EXPECT_EQ(speaker("<Tam> hello"), "Tam");
  EXPECT_EQ(speaker("**Tam:** hello"), "Tam");
  EXPECT_EQ(speaker("日本: x"), "日本");
  EXPECT_EQ(speaker("Tam:"), "Tam");
  for (const std::string_view line : {"https://example.org", "at 10:30 they left", "\"No,\" he said: x", "no name",
                                      ": x", "a very long line of five words: x", "[INST] Tam"})
    EXPECT_EQ(speaker(line), "") << line;
}

TEST(Recognize, FormatsByTheirContent) {
  struct Case {
    std::string text;
    FileKind kind;
    const char* why;
  };
  const Case cases[] = {
      {.text = R"({"user_name":"a","character_name":"b"})",
       .kind = FileKind::kSillyTavern,
       .why = "the header of a chat"},
      {.text = R"({"name":"a","mes":"b","extra":{"messages":[]}})",
       .kind = FileKind::kSillyTavern,
       .why = "a message of a chat with an object of another format inside"},
      {.text = R"([ {"id":1,"conversations":[)", .kind = FileKind::kShareGpt, .why = "an array that is cut off"},
      {.text = R"({"messages":[{"role":"x"}]})", .kind = FileKind::kMessages, .why = "messages of an API"},
      {.text = R"({"text":"{\"mes\":1}"})", .kind = FileKind::kBlockmlJsonl, .why = "a text that looks like a chat"},
      {.text = R"({"instruction":"a","output":"b"})", .kind = FileKind::kAlpaca, .why = "instructions"},
      {.text = R"({"spec":"chara_card_v2"})", .kind = FileKind::kCard, .why = "a character card"},
      {.text = R"({"entries":{}})", .kind = FileKind::kLorebook, .why = "a lorebook"},
      {.text = "7", .kind = FileKind::kUnknown, .why = "a number"},
  };
  for (const auto& [text, kind, why] : cases) EXPECT_EQ(recognize_text(text, "a.jsonl"), kind) << why;
  EXPECT_EQ(recognize_text("A: x\nB: y\n", "a.txt"), FileKind::kPlain);
  EXPECT_EQ(recognize_text("A: x\n▀message\n", "a.txt"), FileKind::kBlockml);
  EXPECT_EQ(recognize_text("names:\n  a: b\nconversation:\n", "a.yaml"), FileKind::kLimarp);
}

}  // namespace
}  // namespace shori
