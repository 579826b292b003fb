// BlockML-like text, length hints, and what all imports promise.
#include <nlohmann/json.hpp>

#include "shori/util/json_text.h"
#include "src/data/import/conversation.h"
#include "tests/unit/data/blockml_samples.h"
#include "tests/unit/data/import/fixture.h"

namespace shori {
namespace {

using test::Problem;

class ImportText : public test::ImportTest {
 protected:
  std::string text(const std::string& content) {
    std::filesystem::remove_all(folder.file("out"));
    report = import(ImportSource::kText, "t.txt", content);
    return only_made();
  }
  ImportReport report;

  // What one reader makes of a file, without writing: the text if there is a message in it.
  std::optional<std::string> read_with(void (*reader)(ImportFile&), const std::string& content) {
    std::filesystem::remove(folder.file("one"));  // some file systems sync a file that is written over
    const std::string path = folder.write("one", content);
    const InputFile input = InputFile::open(path);
    std::optional<std::string> made;
    Diagnostics diagnostics;
    report = {};
    ImportFile file{input, path, options, report, diagnostics, [&](ImportedConversation conversation) {
                      for (const Segment& segment : conversation.segments) {
                        if (segment.role == Role::kMessage) made = render(conversation.segments);
                      }
                    }};
    reader(file);
    problems = diagnostics.all();
    return made;
  }
};

TEST_F(ImportText, ForeignSpellingsBecomeCanonical) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\xEF\xBB\xBF▀message\r\nx\r\ny▄\r\n", "▀message\nx\ny▄\n"},
      {"▀message (length = short)\nx▄", "▀message (length: short)\nx▄\n"},
      {"▀message (Length: Short) x▄", "▀message (length: short)\nx▄\n"},
      {"▀message (length:short)\nx▄\n", "▀message (length: short)\nx▄\n"},
      {"▀message  ( LENGTH=Humongous )\nx▄", "▀message (length: enormous)\nx▄\n"},
      {"▀message(length: extreme)\nx▄", "▀message (length: enormous)\nx▄\n"},
      {"▀message (length: unlimited)\nx▄", "▀message (length: enormous)\nx▄\n"},
      {"▀message\nA: x (length = short)▄\n", "▀message\nA: x (length = short)▄\n"},
      {"▀lore ▄▀lore\n\n▄\n[INST] [/INST]▀message\nx▄\n", "▀message\nx▄\n"},
      {"▀message\na<s>b</s><unk>▄", "▀message\nab▄\n"},
      {"[INST]x[/INST]▀message x▄", "[INST] x [/INST]\n▀message\nx▄\n"},
  };
  for (const auto& [given, expected] : cases) EXPECT_EQ(text(given), expected) << given;
}

TEST_F(ImportText, InlineOocBecomesABlock) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"▀message\nA: x (OOC: brb) y▄", "▀message\nA: x y▄\n▀ooc\nbrb▄\n"},
      {"▀message\nA: (OOC: one) x (ooc:two)▄", "▀message\nA: x▄\n▀ooc\none▄\n▀ooc\ntwo▄\n"},
      {"▀message\nA: x\n(OOC: a (b) c)\ny▄", "▀message\nA: x\ny▄\n▀ooc\na (b) c▄\n"},
      {"▀message\nA: x\n\n(OOC: a)▄", "▀message\nA: x▄\n▀ooc\na▄\n"},
      {"▀message\nx▄\n▀message\nA: (OOC: only)▄", "▀message\nx▄\n▀ooc\nonly▄\n"},
      {"▀message (OOC: hi) Reimu: x▄", "▀message\nReimu: x▄\n▀ooc\nhi▄\n"},
      {"▀message\nx (OOC: )(OOC: b)y▄", "▀message\nx y▄\n▀ooc\nb▄\n"},
      {"(OOC: start)\n▀message\nx▄ (OOC: end) ", "▀ooc\nstart▄\n▀message\nx▄\n▀ooc\nend▄\n"},
      {"▀message\nx (OOC: open▄", "▀message\nx (OOC: open▄\n"},
      {"▀lore\nx (OOC: y)▄▀message\nz▄", "▀lore\nx (OOC: y)▄\n▀message\nz▄\n"},
  };
  for (const auto& [given, expected] : cases) EXPECT_EQ(text(given), expected) << given;
}

TEST_F(ImportText, ChangesAreCountedByKind) {
  text("\xEF\xBB\xBF▀lore ▄\r\n▀message (length = tiny) A: x (OOC: b)▄\r\n\r\n▀message\nB: <s>▄");
  EXPECT_TRUE(report.changes.contains("byte order marks removed"));
  EXPECT_EQ(report.changes.at("line ends made LF"), 3u);
  EXPECT_EQ(report.changes.at("length hints rewritten"), 1u);
  EXPECT_EQ(report.changes.at("(OOC: …) made ▀ooc"), 1u);
  EXPECT_EQ(report.changes.at("texts <s>, </s>, <unk> deleted"), 1u);
  EXPECT_EQ(report.changes.at("empty texts dropped"), 1u);
  EXPECT_EQ(report.changes.at("form: one-line block"), 1u);
}

TEST_F(ImportText, WhatIsLeftWrongIsToldAtItsLine) {
  import(ImportSource::kText, "t.txt", "▀message\r\nx▄\r\nstray\r\n▀message (length: big)\r\ny▄\r\n▀lore\r\nopen");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0310", 3, 1}, {"E0303", 4, 19}, {"E0301", 6, 1}}))
      << formatted();
  EXPECT_TRUE(made().empty());
  import(ImportSource::kText, "t.txt", "▀message\nx\x93▄\n");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0304", 2, 2}}));
  import(ImportSource::kText, "t.txt", "▀lore\nx▄\n");
  EXPECT_TRUE(problems.empty()) << formatted();
  EXPECT_TRUE(made().empty());
}

TEST_F(ImportText, LengthsAreKeptAddedOrRemoved) {
  const std::string given = "▀message (length: huge)\nA: x▄\n▀message\nB: y▄\n";
  EXPECT_EQ(text(given), given);
  options.lengths = ImportLengths::kAuto;
  options.hint_of = [](std::string_view body) { return body == "B: y" ? LengthHint::kTiny : LengthHint::kLong; };
  EXPECT_EQ(text(given), "▀message (length: huge)\nA: x▄\n▀message (length: tiny)\nB: y▄\n");
  EXPECT_EQ(report.changes, (Changes{{"length hints added", 1}}));
  options.lengths = ImportLengths::kNone;
  EXPECT_EQ(text(given), "▀message\nA: x▄\n▀message\nB: y▄\n");
  EXPECT_EQ(report.changes, (Changes{{"length hints removed", 1}}));
}

TEST_F(ImportText, CanonicalDocumentsPassUnchanged) {
  test::RandomDocuments random(7);
  for (int i = 0; i < 300; ++i) {
    const std::string given = render(random.segments());
    EXPECT_EQ(read_with(import_text, given), given);
    EXPECT_EQ(report.changes, Changes{}) << given;
  }
}

// Whatever stands in a text: the import is canonical, and importing it again changes nothing.
TEST_F(ImportText, ImportsAreStable) {
  static const std::vector<std::string> kPieces = {"▀message\n", "▀message (Length=TINY) ",
                                                   "▄",          "▄\r\n",
                                                   "[INST]",     "[/INST]",
                                                   "(OOC: ",     ")",
                                                   "(ooc:b)",    "<s>",
                                                   "</s>",       "\r",
                                                   " ",          "\n\n",
                                                   "A: ",        "x",
                                                   "é",          "▀lore ",
                                                   "▀ooc▄",      "\x01",
                                                   "\t",         "…",
                                                   "(",          "word..word",
                                                   "“",          "---"};
  test::RandomDocuments random(11);
  std::size_t written = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string given = "▀message\nA: start";
    for (std::size_t n = random.below(14); n > 0; --n) given += kPieces[random.below(kPieces.size())];
    if (random.below(2) == 0) given += "▄";
    options.limarp_clean = random.below(2) == 0;
    const std::optional<std::string> once = read_with(import_text, given);
    if (!once) continue;
    ++written;
    EXPECT_EQ(render(test::parsed(*once)), *once) << given;
    EXPECT_EQ(read_with(import_text, *once), once) << given;
    EXPECT_EQ(report.changes, Changes{}) << given << " -> " << *once;
  }
  EXPECT_GT(written, 300u);
}

// Random strings as the JSON text of every format: what is written parses, and has the same text
// again.
TEST_F(ImportText, JsonTextsOfAnyKindGiveCanonicalFiles) {
  static const std::vector<std::string> kPieces = {"▀",    "▄", "[INST]", "[/INST]", "<s>",   "\n",
                                                   "\r\n", " ", "\t",     "é",       "Aya: ", "\"",
                                                   ":",    "*", "(",      "x",       "\x02",  "日"};
  test::RandomDocuments random(13);
  const auto any = [&] {
    std::string result;
    for (std::size_t n = random.below(9); n > 0; --n) result += kPieces[random.below(kPieces.size())];
    return result;
  };
  options.human_name = "Aya";
  std::size_t written = 0;
  for (int i = 0; i < 1000; ++i) {
    Json messages = Json::array();
    const std::vector<std::string> roles = {"user", "system", "message", "lore", "description", "ooc", "title"};
    for (std::size_t n = 1 + random.below(6); n > 0; --n)
      messages.push_back({{"role", roles[random.below(roles.size())]}, {"name", any() + "N"}, {"content", any()}});
    const std::string line = json_text({{"messages", std::move(messages)}});
    const std::optional<std::string> once = read_with(import_messages, line);
    EXPECT_TRUE(problems.empty()) << line << formatted();
    if (once) {
      ++written;
      EXPECT_EQ(render(test::parsed(*once)), *once) << line;
    }
  }
  EXPECT_GT(written, 500u);
}

}  // namespace
}  // namespace shori
