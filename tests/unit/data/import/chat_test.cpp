// SillyTavern chats and LimaRP files.
#include "tests/unit/data/import/fixture.h"

namespace shori {
namespace {

using test::Problem;

class ImportChat : public test::ImportTest {};

const std::string kHeader = R"({"user_name":"unused","character_name":"unused","create_date":"x","chat_metadata":{}})";
std::string mes(const std::string& name, const std::string& text, const std::string& more = "") {
  return R"({"name":")" + name + R"(","is_user":false,"is_system":false,"send_date":"x","mes":")" + text + "\"" + more +
         "}\n";
}

TEST_F(ImportChat, MessagesNarratorAndNotices) {
  const ImportReport report = import(
      ImportSource::kSillyTavern, "Aya - 2024.jsonl",
      kHeader + "\n" + mes("Aya", "Hello.\\n\\n_She waves._") + mes("You", "  Hi  ") +
          mes("Note", "It grows dark.", R"(,"extra":{"type":"narrator"})") +
          R"({"name":"System","is_system":true,"mes":"Hidden","extra":{"type":"comment"}})" + "\n" + mes("Aya", "") +
          mes("Aya", "Bye", R"(,"swipe_id":1,"swipes":["See you","Bye","Ciao"],"mood":"a.png")"));
  EXPECT_EQ(only_made(),
            "▀message\nAya: Hello.\n\n_She waves._▄\n▀message\nYou: Hi▄\n[INST] It grows dark. [/INST]\n"
            "▀message\nAya: Bye▄\n");
  EXPECT_EQ(made().begin()->first, "Aya_-_2024.blockml");
  EXPECT_EQ(report.changes, (Changes{{"empty texts dropped", 1},
                                     {"notices of the program left out", 1},
                                     {"other swipes left out", 2},
                                     {"texts trimmed", 1}}));
  ASSERT_EQ(report.unknown_keys.size(), 1u);
  EXPECT_EQ(report.unknown_keys.at("mood"), 1u);
}

TEST_F(ImportChat, ByteOrderMarkLineEndsBlankLinesAndNoHeader) {
  std::string text = kHeader + "\n\n" + mes("Aya", "a") + " \n" + mes("Aya", "b");
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.insert(at, "\r");
  import(ImportSource::kSillyTavern, "c.jsonl", "\xEF\xBB\xBF" + text);
  const std::string expected = "▀message\nAya: a▄\n▀message\nAya: b▄\n";
  EXPECT_EQ(only_made(), expected);
  EXPECT_EQ(import(ImportSource::kSillyTavern, "c.jsonl", mes("Aya", "a") + mes("Aya", "b")).unchanged, 1u);
  EXPECT_EQ(only_made(), expected);
}

TEST_F(ImportChat, BrokenLinesAreReportedWithTheirNumbers) {
  import(ImportSource::kSillyTavern, "c.jsonl",
         kHeader + "\n" + mes("Aya", "a") + "{\"name\":\"Aya\",\"mes\":\n\n[]\n{\"name\":\"Aya\"}\n{\"mes\":\"x\"}\n" +
             kHeader + "\n" + R"({"name":5,"mes":"x"})" + "\n" + R"({"name":"A","is_system":"yes","mes":"x"})" + "\n" +
             R"({"name":"A","mes":"cut)");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0312", 3, 21},
                                                         {"E0312", 5, 1},
                                                         {"E0312", 6, 1},
                                                         {"E0312", 7, 1},
                                                         {"E0312", 8, 1},
                                                         {"E0312", 9, 9},
                                                         {"E0312", 10, 25},
                                                         {"E0312", 11, 19}}))
      << formatted();
  EXPECT_TRUE(made().empty());
}

TEST_F(ImportChat, NamesBecomeWhatASpeakerMayBe) {
  const ImportReport report =
      import(ImportSource::kSillyTavern, "c.jsonl",
             mes("*Aya* : the \\\"crow\\\"", "x") + mes("\\n", "y") + mes("[Nitori]\\tK", "z") + mes("(:", "w"));
  EXPECT_EQ(only_made(), "▀message\nAya the crow: x▄\n▀message\ny▄\n▀message\nNitori K: z▄\n▀message\nw▄\n");
  EXPECT_EQ(report.changes.at("names changed to what a speaker may be"), 3u);
  EXPECT_EQ(report.changes.at("messages without a name"), 2u);
}

TEST_F(ImportChat, WhatCannotBeInATextIsChangedAndCounted) {
  const ImportReport report = import(ImportSource::kSillyTavern, "c.jsonl",
                                     mes("Aya", "a\\r\\nb\\rc <<s>s> </s>\\u0007 ▀message ▄") +
                                         mes("N", "never [/IN[/INST]ST] closed", R"(,"extra":{"type":"narrator"})"));
  EXPECT_EQ(only_made(), "▀message\nAya: a\nb\nc   -message -▄\n[INST] never  closed [/INST]\n");
  EXPECT_EQ(report.changes, (Changes{{"[/INST] deleted inside an instruction", 2},
                                     {"block characters ▀, ▄ replaced by -", 2},
                                     {"control characters deleted", 1},
                                     {"line ends made LF", 2},
                                     {"texts <s>, </s>, <unk> deleted", 3}}));
}

TEST_F(ImportChat, AConversationWithoutAMessageIsNotWritten) {
  const ImportReport report = import(ImportSource::kSillyTavern, "c.jsonl", kHeader + "\n" + mes("Aya", " "));
  EXPECT_TRUE(problems.empty()) << formatted();
  EXPECT_TRUE(made().empty());
  EXPECT_EQ(report.changes.at("conversations without a message, not written"), 1u);
}

TEST_F(ImportChat, NothingIsOverwritten) {
  import(ImportSource::kSillyTavern, "c.jsonl", mes("Aya", "a"));
  folder.write("in/d.jsonl", mes("Aya", "d"));
  folder.write("out/" + names().front(), "changed");
  options.inputs = {folder.file("in")};
  import_inputs();
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0807", 0, 0}})) << formatted();
  EXPECT_EQ(made(), (std::map<std::string, std::string>{{"c.blockml", "changed"}}));
}

TEST_F(ImportChat, ThatHasGrownIsWrittenBesideItsShorterForm) {
  import(ImportSource::kSillyTavern, "c.jsonl", mes("Aya", "a"));
  const std::string old = names().front();
  const ImportReport report = import(ImportSource::kSillyTavern, "c.jsonl", mes("Aya", "a") + mes("Aya", "b"));
  EXPECT_EQ(report.written, 1u) << formatted();
  EXPECT_EQ(names().size(), 2u);
  const auto examples = report.examples.find("chats that have grown: a shorter one is there too");
  ASSERT_NE(examples, report.examples.end());
  EXPECT_EQ(examples->second, std::vector<std::string>{old.substr(0, old.rfind('.'))});
}

// What is hidden, dropped and cleaned differs, and not what a message is.
TEST_F(ImportChat, HidingAMessageChangesNoName) {
  import(ImportSource::kSillyTavern, "c.jsonl", mes("Aya", "a") + mes("Aya", "b"));
  options.hidden = KeepOrDrop::kDrop;
  import(ImportSource::kSillyTavern, "c.jsonl",
         mes("Aya", "a") + R"({"name":"Aya","is_system":true,"mes":"b"})" + "\n");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0807", 0, 0}})) << formatted();
}

const std::string kLimarp =
    "names:\n  <FIRST>: Aya\n  <SECOND>: 'Nitori'\npersonas:\n  <FIRST>: |\n    <FIRST> is a tengu.\n\n    Fast.\n"
    "  <SECOND>: <SECOND> knows <FIRST>.\nscenario: <FIRST> visits <SECOND>.\nconversation:\n"
    "  - name: <SECOND>\n    text: \"Hello, <FIRST>\"\n  - name: <FIRST>\n    text: 42\n  - {name: <FIRST>, text: }\n";

TEST_F(ImportChat, LimarpPersonasScenarioAndTurns) {
  const ImportReport report = import(ImportSource::kLimarp, "data/forum/77-2.yaml", kLimarp + "extra: 1\n");
  EXPECT_EQ(only_made(),
            "▀description\nAya\nAya is a tengu.\n\nFast.▄\n▀description\nNitori\nNitori knows Aya.▄\n"
            "▀scenario\nAya visits Nitori.▄\n▀message\nNitori: Hello, Aya▄\n▀message\nAya: 42▄\n");
  EXPECT_EQ(made().begin()->first, "limarp-forum-77-2.blockml");
  EXPECT_EQ(report.changes,
            (Changes{{"<FIRST>, <SECOND> replaced by names", 6}, {"empty texts dropped", 1}, {"texts trimmed", 1}}));
  EXPECT_EQ(report.unknown_keys.size(), 1u);
}

TEST_F(ImportChat, LimarpFaultsHaveTheirLocation) {
  struct Case {
    std::string text;
    std::vector<Problem> problems;
    const char* why;
  };
  const Case cases[] = {
      {.text = "a: [", .problems = {{"E0312", 1, 5}}, .why = "no YAML"},
      {.text = "- 1\n", .problems = {{"E0312", 0, 0}}, .why = "a list"},
      {.text = "names: {<FIRST>: A, <SECOND>: B}\n", .problems = {{"E0312", 1, 1}}, .why = "no conversation"},
      {.text = "conversation: []\n", .problems = {{"E0312", 1, 1}}, .why = "no names"},
      {.text = "names: {<FIRST>: A}\nconversation: []\n", .problems = {{"E0312", 1, 8}}, .why = "a name too few"},
      {.text = kLimarp + "  - {name: Bob, text: x}\n  - 5\n",
       .problems = {{"E0312", 17, 12}, {"E0312", 18, 5}},
       .why = "an unknown name and an item that is no message"},
      {.text = kLimarp + "scenario: x\n", .problems = {{"E0312", 17, 1}}, .why = "a key that is given twice"},
  };
  for (const auto& [text, expected, why] : cases) {
    import(ImportSource::kLimarp, "f/1.yaml", text);
    EXPECT_EQ(codes_and_positions(), expected) << why << "\n" << formatted();
    EXPECT_TRUE(made().empty());
  }
}

TEST_F(ImportChat, LimarpCleaning) {
  struct Case {
    std::string text, cleaned, why;
  };
  const Case cases[] = {
      {.text = "a  b   c", .cleaned = "a b c", .why = "spaces"},
      {.text = "a !  b ?", .cleaned = "a! b?", .why = "spaces before marks"},
      {.text = "a  !?", .cleaned = "a!?", .why = "several marks"},
      {.text = "“a” ‘b’ „c« »d‚", .cleaned = "\"a\" 'b' \"c\" \"d'", .why = "curly quotes"},
      {.text = "a… …b", .cleaned = "a... ...b", .why = "ellipses"},
      {.text = "a…b", .cleaned = "a... b", .why = "an ellipsis between words"},
      {.text = "a---b ---- --", .cleaned = "a—b ---- --", .why = "dashes: three are one, other numbers stay"},
      {.text = "a..b a....b a........b a.........b",
       .cleaned = "a... b a... b a... b a.........b",
       .why = "dots between words: up to eight are an ellipsis"},
      {.text = "a.. a... a.... a........ a.........",
       .cleaned = "a.. a... a... a... a.........",
       .why = "dots before a space"},
      {.text = "3.5 e.g. v1.2..3", .cleaned = "3.5 e.g. v1.2... 3", .why = "dots of numbers and abbreviations"},
      {.text = "\"..a\"!..", .cleaned = "\"..a\"!..", .why = "dots beside quotes"},
      {.text = "é..ü 日...本", .cleaned = "é... ü 日... 本", .why = "words of other scripts"},
      {.text = "😀....", .cleaned = "😀....", .why = "an emoji is no word"},
      {.text = "", .cleaned = "", .why = "no text"},
  };
  for (const auto& [text, cleaned, why] : cases) {
    Changes changes;
    EXPECT_EQ(limarp_clean(text, changes), cleaned) << why;
    EXPECT_EQ(changes.empty(), text == cleaned) << why;
    EXPECT_EQ(limarp_clean(cleaned, changes), cleaned) << "not stable: " << why;
  }
}

TEST_F(ImportChat, CleaningIsDoneOnlyWhenAskedFor) {
  const std::string text = mes("Aya", "a  b ! “c”…");
  import(ImportSource::kSillyTavern, "c.jsonl", text);
  EXPECT_EQ(only_made(), "▀message\nAya: a  b ! “c”…▄\n");
  options.limarp_clean = true;
  import(ImportSource::kSillyTavern, "d.jsonl", text);
  EXPECT_EQ(made().at("d.blockml"), "▀message\nAya: a b! \"c\"...▄\n");
}

TEST(ImportFileStem, IsSafeAndVisible) {
  EXPECT_EQ(import_file_stem("aZ9._-"), "aZ9._-");
  EXPECT_EQ(import_file_stem("../é x"), "_._é_x");
  EXPECT_EQ(import_file_stem(".hidden"), "_hidden");
  EXPECT_EQ(import_file_stem(std::string(500, 'a')).size(), 180u);
  EXPECT_EQ(import_file_stem("Мира 東京 ねこ"), "Мира_東京_ねこ");
  EXPECT_EQ(import_file_stem("a\u202e\u00a0\u3000\u200b…b"), "a_____b") << "what is not seen, or turns a line round";
  EXPECT_EQ(import_file_stem("\xFFé"), "___") << "no UTF-8";
  EXPECT_EQ(import_file_stem("a" + std::string(90, '\xC3') + "x"), "a" + std::string(90, '_') + "x");
  std::string long_name = "a";
  for (int i = 0; i < 100; ++i) long_name += "é";
  EXPECT_EQ(import_file_stem(long_name).size(), 179u) << "no half of a letter";
}

}  // namespace
}  // namespace shori
