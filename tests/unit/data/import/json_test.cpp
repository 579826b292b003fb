// ShareGPT and chat-messages files.
#include "tests/unit/data/import/fixture.h"

namespace shori {
namespace {

using test::Problem;

class ImportJson : public test::ImportTest {
 protected:
  ImportJson() { options.human_name = "Aya", options.gpt_name = "Nitori"; }
};

TEST_F(ImportJson, ShareGptTurnsBecomeMessagesAndInstructionsWhereTheyStand) {
  options.names["Momiji"] = "Momiji";
  const ImportReport report =
      import(ImportSource::kShareGpt, "talk.jsonl",
             R"({"id":"t1","conversations":[{"from":"system","value":"Be kind."},{"from":"human","value":"Hello"},)"
             R"({"from":"gpt","value":"Hi."},{"from":"system","value":"Later."},{"from":"Momiji","value":"Woof"}]})");
  EXPECT_EQ(only_made(),
            "[INST] Be kind. [/INST]\n▀message\nAya: Hello▄\n▀message\nNitori: Hi.▄\n[INST] Later. [/INST]\n"
            "▀message\nMomiji: Woof▄\n");
  EXPECT_EQ(made().begin()->first, "t1.blockml");
  EXPECT_EQ(report.conversations, 1u);
  EXPECT_EQ(report.messages, 3u);
  EXPECT_EQ(report.changes, Changes{});
}

TEST_F(ImportJson, AnArrayIsReadLikeLines) {
  const std::string one = R"({"conversations":[{"from":"human","value":"one"}]})";
  const std::string two = R"({"id":5,"conversations":[{"from":"human","value":"} ] \" two {"}]})";
  import(ImportSource::kShareGpt, "a.json", " [\n" + one + ",\r\n  " + two + "\n]\n");
  EXPECT_EQ(made(), (std::map<std::string, std::string>{{"a.blockml", "▀message\nAya: one▄\n"},
                                                        {"5.blockml", "▀message\nAya: } ] \" two {▄\n"}}))
      << formatted();
  import(ImportSource::kShareGpt, "empty.json", "[]");
  EXPECT_TRUE(problems.empty()) << formatted();
}

TEST_F(ImportJson, ConversationsAreNamedByFileAndContent) {
  const auto line = [](const std::string& text) {
    return R"({"conversations":[{"from":"gpt","value":")" + text + "\"}]}\n";
  };
  folder.write("in/a/my talk.jsonl", line("x") + line("y"));
  folder.write("in/b/my talk.jsonl", line("z") + line("x"));
  options.source = ImportSource::kShareGpt;
  options.inputs = {folder.file("in")};
  const ImportReport first = import_inputs();
  EXPECT_EQ(first.written, 3u);
  EXPECT_EQ(first.changes.at("copies of another conversation, not written"), 1u);
  for (const std::string& name : names()) EXPECT_EQ(name.size(), std::string("my_talk-0123456789ab.blockml").size());

  folder.write("in/a/my talk.jsonl", line("new") + line("x") + line("y"));
  options.skip_existing = true;
  const ImportReport second = import_inputs();
  EXPECT_EQ(second.written, 1u);
  EXPECT_EQ(second.unchanged, 3u);
  EXPECT_EQ(names().size(), 4u);
}

// Else another import of the same files would write all of them a second time.
TEST_F(ImportJson, OptionsDoNotChangeNames) {
  const std::string line = R"({"conversations":[{"from":"gpt","value":"<think>a</think>x"}]})";
  import(ImportSource::kShareGpt, "a.jsonl", line);
  options.gpt_name = "Hatate";
  options.thinking = KeepOrDrop::kKeep;
  options.limarp_clean = true;
  import(ImportSource::kShareGpt, "a.json", "[\n " + line + "]");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0807", 2, 0}})) << formatted();
}

TEST_F(ImportJson, NoFileIsReadTwiceAndNoneThatAnImportMade) {
  options.source = ImportSource::kMessages;
  const std::string line = R"({"messages":[{"role":"user","content":"x"}]})",
                    other = R"({"messages":[{"role":"user","content":"y"}]})";
  const std::string path = folder.write("in/" + std::string(240, 'm') + ".jsonl", line + "\n" + other);
  options.inputs = {folder.path(), folder.file("in"), path};
  options.format = ImportFormat::kJsonl;
  EXPECT_EQ(import_inputs().written, 2u) << formatted();
  EXPECT_EQ(import_inputs().unchanged, 2u) << formatted();
  EXPECT_EQ(made().size(), 2u);
  EXPECT_TRUE(made().contains(std::string(180, 'm') + ".jsonl"));
}

TEST_F(ImportJson, MessagesTakeNamesAndBlockmlRoles) {
  import(ImportSource::kMessages, "m.jsonl",
         R"({"messages":[{"role":"title","content":"T"},{"role":"description","name":"Aya","content":"tengu"},)"
         R"({"role":"system","content":"S"},{"role":"user","content":"u","name":"Hatate"},)"
         R"({"role":"assistant","content":"a","name":null},{"role":"ooc","content":"o"},)"
         R"({"role":"message","content":"It rains."},{"role":"message","name":"Aya","content":"Oh."}]})");
  EXPECT_EQ(only_made(),
            "▀title\nT▄\n▀description\nAya\ntengu▄\n[INST] S [/INST]\n▀message\nHatate: u▄\n▀message\nNitori: a▄\n"
            "▀ooc\no▄\n▀message\nIt rains.▄\n▀message\nAya: Oh.▄\n");
}

TEST_F(ImportJson, UnknownMembersAreReportedOnceEach) {
  const ImportReport report = import(
      ImportSource::kMessages, "m.jsonl",
      R"({"model":"x","messages":[{"role":"user","content":"u","weight":1},{"role":"user","content":"v","weight":0}]})"
      "\n");
  ASSERT_EQ(report.unknown_keys.size(), 2u);
  EXPECT_EQ(report.unknown_keys.at("messages[].weight"), 2u);
  EXPECT_EQ(report.unknown_keys.at("model"), 1u);
}

TEST_F(ImportJson, EveryFaultHasItsLocationAndNothingIsWritten) {
  const std::string good = R"({"messages":[{"role":"user","content":"u"}]})";
  import(ImportSource::kMessages, "m.jsonl",
         good + "\n\n{\"messages\": \n[1]\n{\"mesages\":[]}\n{\"messages\":{}}\n" +
             R"({"messages":[{"role":"user"},{"role":"alien","content":"é"},{"role":"user","content":[7]},7]})" + "\n" +
             R"({"messages":[],"messages":[]})" + "\n" + R"({"messages":[{"role":"user","content":"\ud80"}]})" +
             "\n{\"messages\":[{\"role\":\"user\",\"content\":\"\x93\"}]}\n" + R"({"id":{},"messages":[]})");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0312", 3, 14},
                                                         {"E0312", 4, 1},
                                                         {"E0312", 5, 1},
                                                         {"E0312", 6, 13},
                                                         {"E0312", 7, 14},
                                                         {"E0312", 7, 38},
                                                         {"E0312", 7, 87},
                                                         {"E0312", 7, 91},
                                                         {"E0312", 8, 16},
                                                         {"E0312", 9, 40},
                                                         {"E0304", 10, 40},
                                                         {"E0312", 11, 7}}))
      << formatted();
  EXPECT_TRUE(made().empty());
}

TEST_F(ImportJson, FaultyArraysAreReportedWhereTheyAreFaulty) {
  const std::string good = R"({"conversations":[{"from":"human","value":"u"}]})";
  struct Case {
    std::string text;
    Problem problem;
    const char* why;
  };
  const Case cases[] = {
      {.text = "[\n" + good + "\n " + good + "]", .problem = {"E0312", 3, 2}, .why = "no comma between items"},
      {.text = "[" + good, .problem = {"E0312", 1, 50}, .why = "the end after an item"},
      {.text = "[" + good + ",]", .problem = {"E0312", 1, 51}, .why = "no item after a comma"},
      {.text = "[" + good + "] x", .problem = {"E0312", 1, 52}, .why = "text after the array"},
      {.text = "[\n  7]", .problem = {"E0312", 2, 3}, .why = "an item that is no object"},
      {.text = "[\n {\"conversations\": [}",
       .problem = {"E0312", 2, 21},
       .why = "an object that is cut off by a bracket"},
      {.text = "[{\"a\": \"", .problem = {"E0312", 1, 9}, .why = "a text that does not end"},
      {.text = "[\n{\n\"a\": x}]", .problem = {"E0312", 3, 6}, .why = "a member without a value"},
  };
  for (const auto& [text, problem, why] : cases) {
    import(ImportSource::kShareGpt, "a.json", text);
    ASSERT_FALSE(problems.empty()) << why;
    EXPECT_EQ(codes_and_positions()[0], problem) << why << "\n" << formatted();
    EXPECT_TRUE(made().empty());
  }
}

TEST_F(ImportJson, TurnsOfTheUserNeedAName) {
  options.human_name.clear();
  import(ImportSource::kMessages, "m.jsonl", R"({"messages":[{"role":"user","content":"u"}]})");
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0116", 1, 22}}));
  import(ImportSource::kMessages, "m.jsonl", R"({"messages":[{"role":"user","content":"u","name":"Zun"}]})");
  EXPECT_EQ(only_made(), "▀message\nZun: u▄\n");
}

TEST_F(ImportJson, AnIdStandsForOneConversation) {
  const auto line = [](const std::string& id, const std::string& text) {
    return R"({"id":")" + id + R"(","messages":[{"role":"user","content":")" + text + "\"}]}\n";
  };
  import(ImportSource::kMessages, "m.jsonl", line("a/b", "u") + line("c", "u") + line("a_b", "v") + line("c", "v"));
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0318", 4, 0}})) << formatted();
  EXPECT_TRUE(made().empty());
  import(ImportSource::kMessages, "m.jsonl", line("a/b", "u") + line("c", "u") + line("a_b", "v") + line("c", "u"));
  EXPECT_TRUE(problems.empty()) << formatted();
  EXPECT_EQ(names().size(), 3u);
}

TEST_F(ImportJson, FormatsCarryCategoryAndRating) {
  options.format = ImportFormat::kJsonl;
  options.category = "top";
  options.rating = "pg13";
  import(ImportSource::kMessages, "m.jsonl", R"({"id":"ä/1","messages":[{"role":"user","content":"\"u\""}]})");
  EXPECT_EQ(only_made(), R"({"id":"ä/1","category":"top","rating":"pg13","text":"▀message\nAya: \"u\"▄\n"})"
                         "\n");
  EXPECT_EQ(made().begin()->first, "ä_1.jsonl");
}

TEST_F(ImportJson, RatingsOfBlockmlFilesAreASideFile) {
  options.rating = "pg13";
  const std::string text = R"({"id":"b","messages":[{"role":"user","content":"u"}]})"
                           "\n"
                           R"({"id":"a","messages":[{"role":"user","content":"u"}]})";
  EXPECT_EQ(import(ImportSource::kMessages, "m.jsonl", text).written, 3u);
  static const std::regex key("-[0-9a-z]{12}[.]");
  EXPECT_EQ(std::regex_replace(made().at("ratings.yaml"), key, "."), "\"a.blockml\": pg13\n\"b.blockml\": pg13\n");
  EXPECT_EQ(import(ImportSource::kMessages, "m.jsonl", text).unchanged, 3u);
  options.rating = "explicit";
  import(ImportSource::kMessages, "m.jsonl", text);
  EXPECT_EQ(codes_and_positions(), (std::vector<Problem>{{"E0807", 0, 0}}));
}

TEST_F(ImportJson, BrokenTurnsOfOneConversationAreBounded) {
  std::string turns = "1";
  for (int i = 0; i < 100000; ++i) turns += ",1";
  import(ImportSource::kMessages, "m.jsonl", "{\"messages\":[" + turns + "]}");
  EXPECT_EQ(problems.size(), 20u);
}

}  // namespace
}  // namespace shori
