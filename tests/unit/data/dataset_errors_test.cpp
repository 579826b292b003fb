// Bad data: code, file, line and column of each problem.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

const std::string kGoodLine = "{\"text\": \"▀message\\nx▄\\n\"}\n";

class BadLine : public DatasetTest {
 protected:
  // Problems of a file whose second line is `line`.
  Texts problems_of(const std::string& line, const std::string& type = "blockml_jsonl") {
    const std::string first = type == "tokenized" ? "{\"input_ids\": [5, 6]}\n" : kGoodLine;
    folder.write("x.jsonl", first + line + "\n");
    load({entry("x.jsonl", type)});
    return problems();
  }
};

TEST_F(BadLine, NotJson) {
  EXPECT_EQ(problems_of("{\"text\": \"a\" \"b\"}"), (Texts{"E0312 x.jsonl:2:14"}));
  EXPECT_EQ(problems_of("{\"text\": \"é\" 1}"), (Texts{"E0312 x.jsonl:2:14"}));  // columns count code points
  EXPECT_EQ(problems_of("▀message"), (Texts{"E0312 x.jsonl:2:1"}));
}

TEST_F(BadLine, ABlankLineIsSkippedAndCounted) {
  for (const std::string& lines : Texts{"", " \t", "\n\n" + kGoodLine}) {
    folder.write("x.jsonl", kGoodLine + lines + "\n");
    const Dataset dataset = load({entry("x.jsonl", "blockml_jsonl")});
    const std::string blank = lines.ends_with("}\n") ? "3" : "1";
    EXPECT_EQ(dataset.text_changes, (Texts{"blank lines of JSONL skipped: " + blank + " in 1 file, x.jsonl"}));
    for (const std::string& problem : problems()) EXPECT_TRUE(problem.starts_with("W")) << problem;
  }
  EXPECT_EQ(problems_of("\n{}"), (Texts{"E0312 x.jsonl:3:1"})) << "blank lines are lines";
}

TEST_F(BadLine, JsonThatIsNotJsonlIsNamedOnce) {
  const std::string object = "{\n  \"text\":\n  \"▀message\\nx▄\\n\"\n}\n";
  for (const std::string& text : {"[" + object + ", " + object + "]", object + object}) {
    folder.write("x.jsonl", text);
    load({entry("x.jsonl", "blockml_jsonl")});
    ASSERT_EQ(problems(), (Texts{"E0312 x.jsonl:1:1"})) << text;
    const std::string command = text.starts_with("[") ? "json.load(sys.stdin)" : "json.loads(";
    EXPECT_NE(diagnostics.all()[0].helps.at(0).find(command), std::string::npos) << diagnostics.all()[0].helps.at(0);
  }
}

TEST_F(BadLine, NotAnObject) {
  EXPECT_EQ(problems_of("[1]"), (Texts{"E0312 x.jsonl:2:1"}));
  EXPECT_EQ(problems_of("  \"text\""), (Texts{"E0312 x.jsonl:2:3"}));
}

TEST_F(BadLine, WantedFieldMissingOrOfAnotherKind) {
  EXPECT_EQ(problems_of("{\"body\": \"x\"}"), (Texts{"E0312 x.jsonl:2:1"}));
  EXPECT_EQ(problems_of("{\"text\": 5}"), (Texts{"E0312 x.jsonl:2:10"}));
  EXPECT_EQ(problems_of("{\"text\": null}"), (Texts{"E0312 x.jsonl:2:10"}));
  EXPECT_NE(diagnostics.all()[0].message.find("`text` is not a string"), std::string::npos);
}

TEST_F(BadLine, DuplicateKey) {
  const Texts found = problems_of("{\"text\": \"x\", \"text\": \"y\"}");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].starts_with("E0312 x.jsonl:2:")) << found[0];
}

TEST_F(BadLine, LoneSurrogateAndNul) {
  EXPECT_EQ(problems_of("{\"text\": \"▀message\\nx\\ud800▄\"}"), Texts());
  EXPECT_EQ(problems_of("{\"text\": \"a\\u0000b\"}"), (Texts{"E0312 x.jsonl:2:12"}));
}

TEST_F(BadLine, InvalidUtf8AndByteOrderMark) {
  EXPECT_EQ(problems_of("{\"text\": \"\x93\"}"), (Texts{"E0304 x.jsonl:2:11"}));
  EXPECT_EQ(diagnostics.all()[0].notes, (Texts{"looks like Windows-1252"}));
  EXPECT_EQ(problems_of("\xEF\xBB\xBF{\"text\": \"x\"}"), (Texts{"E0304 x.jsonl:2:1"}));
}

TEST_F(BadLine, Names) {
  EXPECT_EQ(problems_of("{\"text\": \"▀message\\nx▄\\n\", \"id\": []}"), (Texts{"E0312 x.jsonl:2:34"}));
  EXPECT_EQ(problems_of("{\"text\": \"▀message\\nx▄\\n\", \"id\": \"\"}"), (Texts{"E0312 x.jsonl:2:34"}));
  EXPECT_EQ(problems_of("{\"text\": \"▀message\\nx▄\\n\", \"category\": 5}"), (Texts{"E0312 x.jsonl:2:40"}));
}

TEST_F(BadLine, DeepAndWideLinesAreRefused) {
  const Texts deep = problems_of("{\"text\": \"x\", \"more\": " + std::string(100000, '[') + "}");
  ASSERT_EQ(deep.size(), 1u);
  EXPECT_TRUE(deep[0].starts_with("E0312 x.jsonl:2:")) << deep[0];
  std::string wide = "{\"text\": \"x\", \"more\": [0";
  for (int i = 0; i < 2200000; ++i) wide += ",0";
  EXPECT_EQ(problems_of(wide + "]}"), (Texts{"E0312 x.jsonl:2:1"}));
}

TEST_F(BadLine, BlockmlProblemsNameLineAndTextPosition) {
  const Texts found = problems_of("{\"text\": \"▀mesage\\nx▄\\n▀message\\ny▄\\n\"}");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].starts_with("E0302 x.jsonl:2")) << found[0];
  EXPECT_NE(diagnostics.all()[0].message.find("text 1:2"), std::string::npos) << diagnostics.all()[0].message;
}

TEST_F(BadLine, AllProblemsOfAllFilesAreReportedInOrder) {
  folder.write("a.blockml", "▀message\nx\n");
  folder.write("b.jsonl", "{}\n" + kGoodLine + "5\n");
  load({entry("a.blockml"), entry("b.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0301 a.blockml:1:1", "E0312 b.jsonl:1:1", "E0312 b.jsonl:3:1"}));
}

TEST_F(BadLine, TwoBos) {
  EXPECT_EQ(problems_of("{\"input_ids\": [1, 1, 28705]}", "tokenized"), (Texts{"E0313 x.jsonl:2"}));
  EXPECT_EQ(diagnostics.all()[0].message, "sample begins with two BOS: 1 1 28705");
}

TEST_F(BadLine, IdsOutsideTheVocabulary) {
  EXPECT_EQ(problems_of("{\"input_ids\": [5, 32000]}", "tokenized"), (Texts{"E0314 x.jsonl:2:19"}));
  EXPECT_NE(diagnostics.all()[0].message.find("token id 32000 at position 1, vocabulary has 32000"), std::string::npos);
  EXPECT_EQ(problems_of("{\"input_ids\": [-1]}", "tokenized"), (Texts{"E0314 x.jsonl:2:16"}));
  EXPECT_EQ(problems_of("{\"input_ids\": [4.5]}", "tokenized"), (Texts{"E0314 x.jsonl:2:16"}));
  EXPECT_EQ(problems_of("{\"input_ids\": [1e2]}", "tokenized"), (Texts{"E0314 x.jsonl:2:16"}));
  EXPECT_EQ(problems_of("{\"input_ids\": [18446744073709551616]}", "tokenized"), (Texts{"E0314 x.jsonl:2:16"}));
  EXPECT_EQ(problems_of("{\"input_ids\": [\"5\"]}", "tokenized"), (Texts{"E0314 x.jsonl:2:16"}));
  EXPECT_TRUE(problems_of("{\"input_ids\": [5, 31999]}", "tokenized").empty());
}

TEST_F(BadLine, Labels) {
  EXPECT_EQ(problems_of("{\"input_ids\": [5, 6], \"labels\": [5]}", "tokenized"), (Texts{"E0314 x.jsonl:2:33"}));
  EXPECT_EQ(problems_of("{\"input_ids\": [5, 6], \"labels\": [5, 7]}", "tokenized"), (Texts{"E0314 x.jsonl:2:37"}));
  EXPECT_NE(diagnostics.all()[0].message.find("label 7 at position 1 is neither the id 6 nor -100"), std::string::npos);
  EXPECT_EQ(problems_of("{\"input_ids\": [5, 6], \"labels\": 5}", "tokenized"), (Texts{"E0314 x.jsonl:2:33"}));
}

TEST_F(BadLine, InputIdsMissingOrEmpty) {
  EXPECT_EQ(problems_of("{\"text\": \"x\"}", "tokenized"), (Texts{"E0312 x.jsonl:2:1"}));
  EXPECT_EQ(problems_of("{\"input_ids\": []}", "tokenized"), (Texts{"E0312 x.jsonl:2:15"}));
  EXPECT_EQ(problems_of("{\"input_ids\": 5}", "tokenized"), (Texts{"E0312 x.jsonl:2:15"}));
}

TEST_F(DatasetTest, EqualIds) {
  folder.write("a.jsonl", "{\"text\": \"▀message\\nx▄\\n\", \"id\": \"one\"}\n");
  folder.write("b.jsonl", kGoodLine + "{\"text\": \"▀message\\ny▄\\n\", \"id\": \"one\"}\n");
  load({entry("a.jsonl"), entry("b.jsonl")});
  ASSERT_EQ(problems(), (Texts{"E0318 b.jsonl:2"}));
  EXPECT_EQ(diagnostics.all()[0].notes, (Texts{"first at a.jsonl:1"}));
  load({entry("a.jsonl"), entry("a.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0318 config.yaml:7"})) << "an id is not to be changed: the file is read twice";
}

TEST_F(DatasetTest, NoTrainedToken) {
  folder.write("a.blockml", kDocumentA);
  folder.write("b.blockml", kDocumentB);
  options.train_on_inputs = false;
  options.roles_to_train = {"ooc"};
  options.train_on_eos = false;
  load({entry("a.blockml"), entry("b.blockml")});
  EXPECT_EQ(problems(), (Texts{"E0306 config.yaml:7", "E0306 config.yaml:7"}));
  EXPECT_NE(diagnostics.all()[0].message.find("a.blockml has no trained token"), std::string::npos);
}

TEST_F(DatasetTest, AnEmptyFileHasNoTrainedToken) {
  folder.write("empty.jsonl", "");
  load({entry("empty.jsonl")});
  EXPECT_EQ(problems(), (Texts{"E0306 config.yaml:7"}));
}

TEST_F(DatasetTest, NothingLeftToTrain) {
  folder.write("a.blockml", kDocumentA);
  options.val_set_size = 1;
  load({entry("a.blockml")});
  ASSERT_EQ(problems(), (Texts{"E0306 config.yaml:7"}));
  EXPECT_NE(diagnostics.all()[0].message.find("`val_set_size` and `skip_samples` take all 1 conversations"),
            std::string::npos);
}

TEST_F(DatasetTest, PlainTextMustBeUtf8AndNotEmpty) {
  folder.write("a.txt", "line\nab\x93");
  folder.write("b.txt", std::string("ab\0c", 4));
  folder.write("c.txt", "\xEF\xBB\xBFx");
  folder.write("d.txt", "");
  load({entry("a.txt", "completion"), entry("b.txt", "completion"), entry("c.txt", "completion"),
        entry("d.txt", "completion")});
  EXPECT_EQ(problems(), (Texts{"E0304 a.txt:2:3", "E0304 b.txt:1:3", "E0311 d.txt:1:1"}));
}

TEST_F(DatasetTest, TooLongLinesAndFiles) {
  folder.write("a.jsonl", "5\n{\"text\": \"" + std::string((64u << 20) + 1, 'x') + "\"}\n");
  folder.write("b.txt", std::string((64u << 20) + 1, 'x'));
  load({entry("a.jsonl"), entry("b.txt", "completion")});
  EXPECT_EQ(problems(), (Texts{"E0312 a.jsonl:1:1", "E0317 a.jsonl:2", "E0317 b.txt:1:1"}));
}

TEST_F(DatasetTest, AFifoIsRefused) {
  ASSERT_EQ(mkfifo(folder.file("a.txt").c_str(), 0600), 0);
  try {
    load({entry("a.txt")});
    FAIL() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0212");
  }
}

}  // namespace
}  // namespace shori
