#include "shori/util/error.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "shori/util/build_info.h"
#include "shori/util/json.h"

namespace shori {
namespace {

// Exit codes are part of the command-line interface, so each is written down here a second time.
TEST(ErrorTable, HasEveryCodeWithItsExit) {
  std::map<std::string, int> wanted = {{"E0001", 1}, {"E0501", 7}, {"E0503", 0}, {"E0704", 1}};
  const auto family = [&wanted](int first, int last, int exit_code) {
    for (int number = first; number <= last; ++number) wanted.emplace("E0" + std::to_string(number), exit_code);
  };
  family(101, 120, 2);
  family(201, 218, 3);
  family(301, 319, 3);
  family(401, 408, 5);
  wanted["E0409"] = 2;
  for (const char* code : {"E0502", "E0506", "E0512", "E0513", "E0514", "E0515"}) wanted[code] = 4;
  for (const char* code : {"E0504", "E0507", "E0509", "E0510", "E0511", "E0516", "E0517", "E0518"}) wanted[code] = 2;
  for (const char* code : {"E0505", "E0508"}) wanted[code] = 3;
  family(601, 606, 6);
  family(701, 704, 5);
  for (const char* code : {"E0801", "E0803", "E0804"}) wanted[code] = 4;
  for (const char* code : {"E0802", "E0806", "E0807"}) wanted[code] = 2;
  wanted["E0805"] = 3;
  for (const char* code : {"W0101", "W0102", "W0201", "W0202", "W0203", "W0301", "W0302", "W0303", "W0304", "W0501",
                           "W0503", "W0601", "W0602", "W0603", "W0801"})
    wanted[code] = 0;
  std::map<std::string, int> found;
  for (const ErrorInfo& row : error_table()) found.emplace(row.code, row.exit_code);
  EXPECT_EQ(found, wanted);
}

TEST(ErrorTable, IsAscendingAndExplainsEachCode) {
  std::string_view last;
  std::set<std::string_view> explanations;
  for (const ErrorInfo& row : error_table()) {
    EXPECT_LT(last, row.code);
    last = row.code;
    EXPECT_FALSE(row.title.empty()) << row.code;
    EXPECT_NE(row.title.back(), '.') << row.code;
    EXPECT_GE(row.explanation.size(), 80u) << row.code;
    EXPECT_EQ(row.explanation.back(), '.') << row.code;
    EXPECT_TRUE(explanations.insert(row.explanation).second) << row.code;
    EXPECT_EQ(find_error_info(row.code), &row);
  }
  EXPECT_EQ(find_error_info("E9999"), nullptr);
  EXPECT_EQ(find_error_info(""), nullptr);
}

TEST(FormatDiagnostic, HasTheShapeOfACompilerMessage) {
  SourceLocation location{"configs/stage_high.yaml", 17, 1, 10, "lora_apha: 16"};
  const Diagnostic diagnostic = Diagnostic("E0101", "unknown key `lora_apha`")
                                    .at(location)
                                    .help("a key with a similar name exists: `lora_alpha`");
  EXPECT_EQ(format_diagnostic(diagnostic),
            "error[E0101]: unknown key `lora_apha`\n"
            "  --> configs/stage_high.yaml:17:1\n"
            "   |\n"
            "17 | lora_apha: 16\n"
            "   | ^^^^^^^^^ not a key of shori-train\n"
            "   = help: a key with a similar name exists: `lora_alpha`\n"
            "   = explain: shori-train --explain E0101\n");
}

TEST(FormatDiagnostic, WithoutSourceLineShowsTheLocationOnly) {
  const Diagnostic diagnostic =
      Diagnostic("W0201", "`metadata.total_size` differs").at("index.json", 1288, 3).note("one\ntwo");
  EXPECT_EQ(format_diagnostic(diagnostic),
            "warning[W0201]: `metadata.total_size` differs\n"
            "    --> index.json:1288:3\n"
            "     = note: one\n"
            "             two\n"
            "     = explain: shori-train --explain W0201\n");
}

TEST(FormatDiagnostic, CaretStandsBelowTheSpanWhateverIsInFront) {
  SourceLocation location{"a.txt", 2, 4, 6, "\t▀\x1b[31mX"};
  const std::string text = format_diagnostic(Diagnostic("E0302", "unknown role").at(location));
  // The tab is one space, the escape character four visible ones; the span is "[3".
  EXPECT_NE(text.find(" 2 |  ▀\\x1b[31mX\n   |       ^^ unknown role\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(FormatDiagnostic, LongLinesAreShownAroundTheSpan) {
  SourceLocation location{"a.jsonl", 1, 5001, 5002, std::string(5000, 'a') + "!" + std::string(5000, 'b')};
  const std::string text = format_diagnostic(Diagnostic("E0312", "here").at(location));
  EXPECT_LT(text.size(), 600u);
  const std::size_t mark = text.find('!'), caret = text.find('^');
  const auto column = [&text](std::size_t at) { return at - text.rfind('\n', at); };
  ASSERT_NE(mark, std::string::npos);
  EXPECT_EQ(column(mark), column(caret));
}

TEST(LocationOf, IsLineColumnAndTheLineItself) {
  const SourceLocation location = location_of("a.json", "{\n \"é\": 1\n}", 7);
  EXPECT_EQ(location.file, "a.json");
  EXPECT_EQ(location.line, 2u);
  EXPECT_EQ(location.column, 5u);  // code points, not bytes
  EXPECT_EQ(location.source_line, " \"é\": 1");
  EXPECT_EQ(location_of("a.json", "x", 99).column, 2u);  // an offset beyond the text is its end
}

TEST(DiagnosticToJson, IsOneObjectWithAllFields) {
  const Diagnostic diagnostic = Diagnostic("E0207", "a \"hole\"").at("x", 3, 4).note("n").help("h");
  EXPECT_EQ(
      diagnostic_to_json(diagnostic),
      R"({"code":"E0207","severity":"error","message":"a \"hole\"","file":"x","line":3,"column":4,"end_column":0,)"
      R"("notes":["n"],"help":["h"],"exit_code":3})");
}

TEST(Diagnostics, KeepsTheFirstFiftyErrorsAndCountsTheRest) {
  Diagnostics diagnostics;
  for (int i = 0; i < 73; ++i)
    diagnostics.add(Diagnostic("E0302", "unknown role").at("a.txt", static_cast<std::size_t>(i) + 1));
  diagnostics.add(Diagnostic("W0302", "close"));
  diagnostics.add(Diagnostic("E0302", "unknown role").at("a.txt", 1));  // known already
  EXPECT_EQ(diagnostics.error_count(), 73u);
  EXPECT_EQ(diagnostics.all().size(), 51u);
  try {
    diagnostics.throw_if_errors();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    ASSERT_EQ(error.diagnostics().size(), 51u);
    ASSERT_EQ(error.diagnostics()[49].notes.size(), 1u);
    EXPECT_EQ(error.diagnostics()[49].notes[0], "and 23 more");
    EXPECT_EQ(error.exit_code(), 3);
  }
}

TEST(Diagnostics, TheSameMessageAtTheSameLocationIsKeptOnce) {
  Diagnostics diagnostics;
  diagnostics.add(Diagnostic("E0302", "a").at("f", 1, 2));
  diagnostics.add(Diagnostic("E0302", "a").at("f", 1, 2));
  diagnostics.add(Diagnostic("E0302", "a").at("f", 1, 3));
  diagnostics.add(Diagnostic("E0303", "a").at("f", 1, 2));
  EXPECT_EQ(diagnostics.error_count(), 3u);
}

TEST(Diagnostics, WarningsAloneThrowOnlyWhenAsked) {
  Diagnostics diagnostics;
  diagnostics.add(Diagnostic("W0301", "twins"));
  EXPECT_FALSE(diagnostics.has_errors());
  EXPECT_NO_THROW(diagnostics.throw_if_errors());
  try {
    diagnostics.throw_if_errors(true);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 3);
  }
}

TEST(Error, ExitCodeIsThatOfTheFirstDiagnosticThatHasOne) {
  const Error error(
      std::vector<Diagnostic>{Diagnostic("W0201", "w"), Diagnostic("E0503", "goes on"), Diagnostic("E0601", "nan")});
  EXPECT_EQ(error.exit_code(), 6);
  EXPECT_EQ(error.code(), "W0201");
  EXPECT_STREQ(error.what(), "W0201: w\nE0503: goes on\nE0601: nan");
}

TEST(InternalError, NamesLocationAndBuild) {
  try {
    SHORI_CHECK(1 + 1 == 3, "arithmetic");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0001");
    EXPECT_EQ(error.exit_code(), 1);
    EXPECT_EQ(error.diagnostics()[0].message.find("internal error in error_test.cpp:"), 0u);
    EXPECT_NE(error.diagnostics()[0].notes[0].find(build_id()), std::string::npos);
  }
}

TEST(InternalError, CodesOutsideTheTableAreABugOfOurs) {
  try {
    throw Error(Diagnostic("E0999", "something"));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0001");
    EXPECT_NE(std::string(error.what()).find("E0999"), std::string::npos);
  }
}

}  // namespace
}  // namespace shori
