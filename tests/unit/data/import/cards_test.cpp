// Card files, macros, log lines, and what a file is by its content.
#include "src/data/import/cards.h"

#include <gtest/gtest.h>

#include "src/data/sources/log_lines.h"
#include "src/data/sources/recognize.h"

namespace shori {
namespace {

TEST(Base64, TextsOfAllLengths) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"", ""},
                                                                  {"Zg==", "f"},
                                                                  {"Zm8=", "fo"},
                                                                  {"Zm9v", "foo"},
                                                                  {"Zm9vYg", "foob"},
                                                                  {"Zm9vYmE", "fooba"},
                                                                  {"Zm9v\nYmFy", "foobar"},
                                                                  {"-_8=", "\xFB\xFF"},
                                                                  {"+/8=", "\xFB\xFF"}};
  for (const auto& [text, bytes] : cases) EXPECT_EQ(decode_base64(text), bytes) << text;
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
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"JPEG", "no PNG"},
      {kPng, "no character card"},
      {kPng + text_chunk("Comment", "Zg=="), "no character card"},
      {kPng + text_chunk("chara", "Z"), "not base64"},
      {kPng + chunk("zTXt", std::string("chara\0\0x", 8)), "zTXt"},
      {kPng + std::string("\0\0\1\0tEXtchara\0Zg==", 18), "cut off"},
  };
  for (const auto& [png, word] : cases) {
    std::string problem;
    EXPECT_FALSE(read_png_card(png, problem)) << word;
    EXPECT_NE(problem.find(word), std::string::npos) << problem;
  }
}

TEST(Macros, NamesAndTheRest) {
  ImportReport report;
  const MacroNames names{"Ilario", "Mira", "Mira, Tam"};
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{{user}} and {{ CHAR }}", "Ilario and Mira"},
      {"<USER> <BOT> <b>", "Ilario Mira <b>"},
      {"a\n{{trim}}\n\nb", "ab"},
      {"{{group}}{{noop}}{{// x}}", "Mira, Tam"},
      {"{{random::a::b}} {{pick:c,d}}", "a c"},
      {"{{time}} {{user", "{{time}} {{user"},
      {"{{newline}}", "\n"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(expand_macros(text, names, report), expected) << text;
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
  EXPECT_EQ(speaker("<Tam> hello"), "Tam");
  EXPECT_EQ(speaker("**Tam:** hello"), "Tam");
  EXPECT_EQ(speaker("日本: x"), "日本");
  EXPECT_EQ(speaker("Tam:"), "Tam");
  for (const std::string_view line : {"https://example.org", "at 10:30 they left", "\"No,\" he said: x", "no name",
                                      ": x", "a very long line of five words: x", "[INST] Tam"})
    EXPECT_EQ(speaker(line), "") << line;
}

TEST(Recognize, FormatsByTheirContent) {
  const std::vector<std::pair<std::string, FileKind>> cases = {
      {R"({"user_name":"a","character_name":"b"})", FileKind::kSillyTavern},
      {R"({"name":"a","mes":"b","extra":{"messages":[]}})", FileKind::kSillyTavern},
      {R"([ {"id":1,"conversations":[)", FileKind::kShareGpt},
      {R"({"messages":[{"role":"x"}]})", FileKind::kMessages},
      {R"({"text":"{\"mes\":1}"})", FileKind::kBlockmlJsonl},
      {R"({"instruction":"a","output":"b"})", FileKind::kAlpaca},
      {R"({"spec":"chara_card_v2"})", FileKind::kCard},
      {R"({"entries":{}})", FileKind::kLorebook},
      {"7", FileKind::kUnknown},
  };
  for (const auto& [text, kind] : cases) EXPECT_EQ(recognize_text(text, "a.jsonl"), kind) << text;
  EXPECT_EQ(recognize_text("A: x\nB: y\n", "a.txt"), FileKind::kPlain);
  EXPECT_EQ(recognize_text("A: x\n▀message\n", "a.txt"), FileKind::kBlockml);
  EXPECT_EQ(recognize_text("names:\n  a: b\nconversation:\n", "a.yaml"), FileKind::kLimarp);
}

}  // namespace
}  // namespace shori
