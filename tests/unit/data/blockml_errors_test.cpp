// Every problem of a single text: code, line, column, and where the parser goes on.
#include <gtest/gtest.h>

#include "shori/data/blockml.h"
#include "tests/unit/data/blockml_samples.h"

namespace shori {
namespace {

struct Found {
  std::string code;
  std::size_t line, column;
  bool operator==(const Found&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Found& found) {
  return out << found.code << '@' << found.line << ':' << found.column;
}

std::vector<Diagnostic> problems(const std::string& text, const TextSource& source = {"data/high.txt", 0}) {
  Diagnostics diagnostics;
  EXPECT_FALSE(parse_blockml(text, source, diagnostics).has_value()) << text.substr(0, 200);
  return diagnostics.all();
}

std::vector<Found> found(const std::string& text) {
  std::vector<Found> result;
  for (const Diagnostic& problem : problems(text))
    result.push_back({problem.code, problem.location.line, problem.location.column});
  return result;
}

bool mentions(const std::vector<std::string>& lines, const std::string& text) {
  for (const std::string& line : lines) {
    if (line.find(text) != std::string::npos) return true;
  }
  return false;
}

const std::string kMessage = "▀message\nx▄\n";

TEST(BlockmlErrors, EachConditionAtItsLocation) {
  struct Case {
    std::string text;
    std::vector<Found> found;
  };
  const std::vector<Case> cases = {
      {kMessage + "▀lore\nx\n" + kMessage, {{"E0301", 3, 1}}},
      {kMessage + "▀lore\nx\n", {{"E0301", 3, 1}}},
      {kMessage + "▀lore é ▀message\nx▄\n", {{"E0301", 3, 1}}},
      {kMessage + "▀", {{"E0301", 3, 1}}},
      {kMessage + "▀message", {{"E0301", 3, 1}}},
      {kMessage + "▀message (length: tiny)", {{"E0301", 3, 1}}},
      {"▀▀message\nx▄\n", {{"E0301", 1, 1}}},
      {"▀mesage\nx▄\n", {{"E0302", 1, 2}}},
      {"▀Message\nx▄\n", {{"E0302", 1, 2}}},
      {"▀ message\nx▄\n", {{"E0302", 1, 2}}},
      {"▀message\tx▄\n", {{"E0302", 1, 2}}},
      {"▀messages x▄\n", {{"E0302", 1, 2}}},
      {"▀message: x▄\n", {{"E0302", 1, 2}}},
      {"▀inst\nx▄\n", {{"E0302", 1, 2}}},
      {"▀message(length: tiny)\nx▄\n", {{"E0302", 1, 2}}},
      {"é ▄\n", {{"E0310", 1, 1}}},
      {"▀▄\n", {{"E0302", 1, 2}}},
      {"▀message (length: midium)\nx▄\n", {{"E0303", 1, 19}}},
      {"▀message (length: Tiny)\nx▄\n", {{"E0303", 1, 19}}},
      {"▀message (length: midium) x▄\n", {{"E0303", 1, 19}}},
      {"▀message (length: midium▄\n", {{"E0303", 1, 10}}},
      {"▀message (length: tiny)x▄\n", {{"E0303", 1, 10}}},
      {"▀message  (length: tiny)\nx▄\n", {{"E0303", 1, 11}}},
      {"▀message (Length: tiny)\nx▄\n", {{"E0303", 1, 10}}},
      {"▀message (length:tiny)\nx▄\n", {{"E0303", 1, 10}}},
      {"▀message (length: )\nx▄\n", {{"E0303", 1, 10}}},
      {"▀message (length = tiny)\nx▄\n", {{"E0303", 1, 10}}},
      {"▀message (length: very short)\nx▄\n", {{"E0303", 1, 10}}},
      {"▀message (lengthy) x▄\n", {{"E0303", 1, 10}}},
      {"▀title (length: tiny)\nx▄\n", {{"E0303", 1, 8}}},
      {"▀message\na\x93▄\n", {{"E0304", 2, 2}}},
      {"▀message\né\xC0\xAF▄\n", {{"E0304", 2, 2}}},
      {"▀message\n\xED\xA0\x80▄\n", {{"E0304", 2, 1}}},
      {"▀message\n\xF4\x90\x80\x80▄\n", {{"E0304", 2, 1}}},
      {"▀message\nx▄\n\xE2\x96", {{"E0304", 3, 1}}},
      {"\xEF\xBB\xBF" + kMessage, {{"E0304", 1, 1}}},
      {"▀message\nab\x01▄\n", {{"E0304", 2, 3}}},
      {std::string("▀message\na\0▄\n", 15), {{"E0304", 2, 2}}},
      {"▀message\n\x7F▄\n", {{"E0304", 2, 1}}},
      {"▀lore\nx▄\n", {{"E0306", 1, 1}}},
      {"", {{"E0306", 1, 1}}},
      {" \n\n", {{"E0306", 1, 1}}},
      {"▀message\na <s> b </s>▄\n", {{"E0308", 2, 3}}},
      {kMessage + "[INST] <unk> [/INST]\n", {{"E0308", 3, 8}}},
      {"▀message\r\nx▄\r\n", {{"E0309", 1, 9}}},
      {kMessage + "  ▄\n", {{"E0310", 3, 3}}},
      {kMessage + "stray\n" + kMessage, {{"E0310", 3, 1}}},
      {kMessage + "[inst] x [/inst]\n", {{"E0310", 3, 1}}},
      {"▀message\nx▄ y\n", {{"E0310", 2, 4}}},
      {kMessage + "▀lore\n \t\n▄\n", {{"E0311", 3, 1}}},
      {kMessage + "▀lore▄\n", {{"E0311", 3, 1}}},
      {kMessage + "▀lore ▄\n", {{"E0311", 3, 1}}},
      {"▀message (length: tiny)▄\n", {{"E0311", 1, 1}}},
      {kMessage + "[INST] [/INST]\n", {{"E0311", 3, 1}}},
      {kMessage + "[INST][/INST]\n", {{"E0311", 3, 1}}},
      {kMessage + "[INST] x\n▀message\nx [/INST]▄\n", {{"E0316", 3, 1}}},
      {kMessage + "[INST] x\n", {{"E0316", 3, 1}}},
      {kMessage + " [/INST]\n", {{"E0316", 3, 2}}},
  };
  for (const Case& c : cases) EXPECT_EQ(found(c.text), c.found) << c.text;
}

// For each condition above, what comes close to it and is none.
TEST(BlockmlErrors, WhatComesCloseIsAccepted) {
  const std::vector<std::string> texts = {
      "▀message\nx▄",                                          // E0301: closed at the end of the file
      "▀message\n" + std::string("x\n\n") + "y▄\n",            // E0301: empty lines inside
      "▀ooc x▄▀lore y▄▀message z▄",                            // E0302: a space after the role
      "▀message\nmesage▄\n",                                   // E0302: in a body
      "▀message (length: enormous) x▄\n",                      // E0303: the last word
      "▀message (long) x▄\n",                                  // E0303: another parenthesis
      "▀message\n(length: big) x▄\n",                          // E0303: in a body
      "▀title x (length: tiny)▄\n" + kMessage,                 // E0303: not directly after the role
      "▀message\n\tx\xC2\x80\xEF\xBB\xBF\xF4\x8F\xBF\xBF▄\n",  // E0304: TAB, U+0080, U+FEFF inside, U+10FFFF
      "▀message\n\xED\x9F\xBF\xEE\x80\x80▄\n",                 // E0304: beside the surrogates
      "▀lore\nx▄\n" + kMessage,                                // E0306: one message is enough
      "▀message\n<S> < s> <s </ s> <unk▄\n",                   // E0308
      "▀message\n\\r\\n▄\n",                                   // E0309: written out
      kMessage + "[INST] x [/INST] \n\t" + kMessage,           // E0310: white space between segments
      "▀message\n\xC2\xA0▄\n",                                 // E0311: a no-break space is text
      "[INST] . [/INST]\n" + kMessage,                         // E0311
      "▀message\n[INST] x▄\n",                                 // E0316: in a body
      "▀message\nx [/INST]▄\n",                                // E0316: in a body
      "[INST] [INST] x [/INST]\n" + kMessage,                  // E0316: the first one is closed
  };
  for (const std::string& text : texts) {
    Diagnostics diagnostics;
    EXPECT_TRUE(parse_blockml(text, {"data/high.txt", 0}, diagnostics).has_value()) << text;
    EXPECT_FALSE(diagnostics.has_errors()) << text;
  }
}

TEST(BlockmlErrors, SeveralErrorsOfOneTextAreAllReportedInOrder) {
  const std::string text = "▀titel\nx▄\n" + kMessage +
                           "stray ▀lore\ny▄\n▀message\n<s> </s>▄\n▀message (length: big)\nz▄\n▀ooc\n \n▄\n▀lore\nend";
  const std::vector<Found> expected = {{"E0302", 1, 2},  {"E0310", 5, 1},  {"E0308", 8, 1},
                                       {"E0303", 9, 19}, {"E0311", 11, 1}, {"E0301", 14, 1}};
  EXPECT_EQ(found(text), expected);
}

TEST(BlockmlErrors, GoesOnAtTheNextLineThatStartsASegment) {
  // The second unknown role is on the first line, so it is skipped; the third starts a line.
  EXPECT_EQ(found("▀a\nx▄ ▀b\ny▄\n▀c\nz▄\n"), (std::vector<Found>{{"E0302", 1, 2}, {"E0302", 4, 2}}));
  EXPECT_EQ(found("stray\n[INST] x\n▀d\n"), (std::vector<Found>{{"E0310", 1, 1}, {"E0316", 2, 1}, {"E0302", 3, 2}}));
}

TEST(BlockmlErrors, NothingElseIsReportedOfATextThatIsNotPlainText) {
  EXPECT_EQ(found("▀a\nx▄\n\x93\r\n▀b"), (std::vector<Found>{{"E0304", 3, 1}}));
  EXPECT_EQ(found("▀a\nx▄\r\n\x93▀b"), (std::vector<Found>{{"E0309", 2, 3}}));
}

TEST(BlockmlErrors, MessagesSayCauseAndFix) {
  const Diagnostic unclosed = problems(kMessage + "▀lore\nx\n" + kMessage).at(0);
  EXPECT_EQ(unclosed.message, "block opened here is not closed");
  EXPECT_TRUE(mentions(unclosed.notes, "next `▀` at 5:1"));
  EXPECT_TRUE(mentions(unclosed.helps, "add `▄` before line 5"));
  EXPECT_EQ(unclosed.location.source_line, "▀lore");
  EXPECT_EQ(unclosed.location.file, "data/high.txt");

  const Diagnostic role = problems("▀mesage\nx▄\n").at(0);
  EXPECT_EQ(role.message, "unknown role `mesage`");
  EXPECT_EQ(role.location.end_column, 8u);
  EXPECT_TRUE(mentions(role.helps, "`message`"));
  EXPECT_TRUE(mentions(role.notes, "title tags lore scenario description message ooc"));

  const Diagnostic length = problems("▀message (length: midium)\nx▄\n").at(0);
  EXPECT_EQ(length.message, "unknown length `midium`");
  EXPECT_TRUE(mentions(length.helps, "`medium`"));
  EXPECT_TRUE(mentions(length.notes, "nano micro tiny short medium long massive huge enormous"));

  const Diagnostic byte = problems("▀message\na\x93▄\n").at(0);
  EXPECT_EQ(byte.message, "byte 0x93 is not UTF-8");
  EXPECT_TRUE(mentions(byte.notes, "looks like Windows-1252"));
  EXPECT_TRUE(mentions(byte.helps, "iconv -c -f utf-8 -t utf-8"));
  EXPECT_FALSE(mentions(problems("▀message\na\xFF▄\n").at(0).notes, "Windows"));

  const Diagnostic literal = problems("▀message\n<s> </s> <unk> <S>▄\n").at(0);
  EXPECT_TRUE(mentions(literal.notes, ": 3"));
  EXPECT_NE(literal.message.find("`<s>`"), std::string::npos);

  const Diagnostic cr = problems("▀message\r\nx\r\r\n▄\n").at(0);
  EXPECT_TRUE(mentions(cr.notes, "first at 1:9; lines with CR: 2"));
  EXPECT_TRUE(mentions(cr.helps, "sed -i 's/\\r$//' data/high.txt"));
}

TEST(BlockmlErrors, ATextInsideAJsonLineIsLocatedByBoth) {
  const Diagnostic problem = problems("▀message\nx▄\n▀titel\nx▄\n", {"chat.jsonl", 204}).at(0);
  EXPECT_EQ(problem.code, "E0302");
  EXPECT_EQ(problem.location.file, "chat.jsonl");
  EXPECT_EQ(problem.location.line, 204u);
  EXPECT_EQ(problem.location.column, 0u);
  EXPECT_NE(problem.message.find("text 3:2"), std::string::npos) << problem.message;
}

TEST(BlockmlErrors, LimitsAreExact) {
  const std::string open = "▀message\n";
  const auto block = [&](std::size_t bytes) { return open + std::string(bytes - open.size() - 3, 'a') + "▄\n"; };
  EXPECT_EQ(render(test::parsed(block(kBlockBytes))), block(kBlockBytes));
  // The first byte too many is the last of ▄.
  EXPECT_EQ(found(block(kBlockBytes + 1)), (std::vector<Found>{{"E0317", 2, kBlockBytes - open.size() - 1}}));

  const std::string hidden = "▀message" + std::string(248, ' ') + "(length: tiny)\nx▄\n";
  EXPECT_EQ(found(hidden), (std::vector<Found>{{"E0317", 1, 255}}));
  EXPECT_EQ(found("▀message (length: " + std::string(5000, 'x') + ")\nx▄\n"), (std::vector<Found>{{"E0303", 1, 19}}));
  EXPECT_EQ(found("▀" + std::string(5000, 'x') + "\nx▄\n"), (std::vector<Found>{{"E0302", 1, 2}}));
  EXPECT_EQ(render(test::parsed("▀message" + std::string(5000, ' ') + "\nx▄\n")), kMessage);

  std::string many;
  for (std::size_t i = 0; i < kSegmentLimit; ++i) many += "▀ooc\nx▄\n";
  many.replace(0, std::string("▀ooc\nx▄\n").size(), kMessage);
  Diagnostics diagnostics;
  const auto document = parse_blockml(many, {"f", 0}, diagnostics);
  ASSERT_TRUE(document.has_value());
  EXPECT_EQ(document->segments.size(), kSegmentLimit);
  EXPECT_EQ(found(many + "▀ooc\nx▄\n" + "▀"), (std::vector<Found>{{"E0317", 2 * kSegmentLimit + 1, 1}}));
}

}  // namespace
}  // namespace shori
