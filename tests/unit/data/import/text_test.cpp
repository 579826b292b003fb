// BlockML-like text, length hints, and what all imports promise.
#include <nlohmann/json.hpp>

#include "shori/util/json_text.h"
#include "src/data/import/conversation.h"
#include "tests/unit/data/blockml_samples.h"
#include "tests/unit/data/import/fixture.h"

namespace shori {
namespace {

using test::Problem;

// A text as it is found, and what the import makes of it.
struct Spelling {
  std::string given, canonical, why;
};

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
  const Spelling cases[] = {
      {.given = "\xEF\xBB\xBF▀message\r\nx\r\ny▄\r\n",
       .canonical = "▀message\nx\ny▄\n",
       .why = "a byte order mark and CR LF"},
      {.given = "▀message (length = short)\nx▄",
       .canonical = "▀message (length: short)\nx▄\n",
       .why = "an equals sign"},
      {.given = "▀message (Length: Short) x▄",
       .canonical = "▀message (length: short)\nx▄\n",
       .why = "capitals, on one line"},
      {.given = "▀message (length:short)\nx▄\n", .canonical = "▀message (length: short)\nx▄\n", .why = "no space"},
      {.given = "▀message  ( LENGTH=Humongous )\nx▄",
       .canonical = "▀message (length: enormous)\nx▄\n",
       .why = "an older word in capitals, with spaces"},
      {.given = "▀message(length: extreme)\nx▄",
       .canonical = "▀message (length: enormous)\nx▄\n",
       .why = "no space before the hint"},
      {.given = "▀message (length: unlimited)\nx▄",
       .canonical = "▀message (length: enormous)\nx▄\n",
       .why = "an older word"},
      {.given = "▀message\nA: x (length = short)▄\n",
       .canonical = "▀message\nA: x (length = short)▄\n",
       .why = "a hint in the text stays"},
      {.given = "▀lore ▄▀lore\n\n▄\n[INST] [/INST]▀message\nx▄\n",
       .canonical = "▀message\nx▄\n",
       .why = "empty blocks go"},
      {.given = "▀message\na<s>b</s><unk>▄", .canonical = "▀message\nab▄\n", .why = "control tokens go"},
      {.given = "[INST]x[/INST]▀message x▄",
       .canonical = "[INST] x [/INST]\n▀message\nx▄\n",
       .why = "an instruction without spaces"},
  };
  for (const auto& [given, canonical, why] : cases) EXPECT_EQ(text(given), canonical) << why;
}

TEST_F(ImportText, InlineOocBecomesABlock) {
  const Spelling cases[] = {
      {.given = "▀message\nA: x (OOC: brb) y▄",
       .canonical = "▀message\nA: x y▄\n▀ooc\nbrb▄\n",
       .why = "inside of a text"},
      {.given = "▀message\nA: (OOC: one) x (ooc:two)▄",
       .canonical = "▀message\nA: x▄\n▀ooc\none▄\n▀ooc\ntwo▄\n",
       .why = "two of them"},
      {.given = "▀message\nA: x\n(OOC: a (b) c)\ny▄",
       .canonical = "▀message\nA: x\ny▄\n▀ooc\na (b) c▄\n",
       .why = "brackets inside, on a line of its own"},
      {.given = "▀message\nA: x\n\n(OOC: a)▄", .canonical = "▀message\nA: x▄\n▀ooc\na▄\n", .why = "at the end"},
      {.given = "▀message\nx▄\n▀message\nA: (OOC: only)▄",
       .canonical = "▀message\nx▄\n▀ooc\nonly▄\n",
       .why = "nothing else is in the message"},
      {.given = "▀message (OOC: hi) Reimu: x▄",
       .canonical = "▀message\nReimu: x▄\n▀ooc\nhi▄\n",
       .why = "before the speaker"},
      {.given = "▀message\nx (OOC: )(OOC: b)y▄", .canonical = "▀message\nx y▄\n▀ooc\nb▄\n", .why = "one without text"},
      {.given = "(OOC: start)\n▀message\nx▄ (OOC: end) ",
       .canonical = "▀ooc\nstart▄\n▀message\nx▄\n▀ooc\nend▄\n",
       .why = "outside of blocks"},
      {.given = "▀message\nx (OOC: open▄",
       .canonical = "▀message\nx (OOC: open▄\n",
       .why = "one that does not end stays"},
      {.given = "▀lore\nx (OOC: y)▄▀message\nz▄",
       .canonical = "▀lore\nx (OOC: y)▄\n▀message\nz▄\n",
       .why = "it stays in other blocks"},
  };
  for (const auto& [given, canonical, why] : cases) EXPECT_EQ(text(given), canonical) << why;
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

TEST_F(ImportText, WhatIsLeftWrongIsReportedAtItsLine) {
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
