#include "src/cli/choice.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace shori {
namespace {

enum class Form { kBlockml, kJsonl, kYaml };

}  // namespace

template <>
inline constexpr auto kWords<Form> = word_list("blockml", "jsonl", "yaml");

namespace {

struct Choice : testing::Test {
  Choice() {
    add_choice<Form>(app, "--to", to, "the form")->required();
    add_choice<Form>(app, "--from", from, "the other form");
    add_choice(app, "--rating", rating, kRatings, "the rating");
    add_word_option(app, "--compat", kOnlyOne, "one word", [this](std::size_t) { compat = true; });
  }

  // The message of the usage error, or an empty text.
  std::string parse(std::vector<std::string> arguments) {
    try {
      app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them in reverse
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }

  static constexpr auto kOnlyOne = word_list("0.6");
  CLI::App app;
  Form to = Form::kBlockml;
  std::optional<Form> from;
  std::string rating;
  bool compat = false;
};

TEST_F(Choice, StoresTheValueOfTheWord) {
  ASSERT_EQ(parse({"--to", "yaml", "--from=jsonl", "--rating", "pg13", "--compat", "0.6"}), "");
  EXPECT_EQ(to, Form::kYaml);
  EXPECT_EQ(from, Form::kJsonl);
  EXPECT_EQ(rating, "pg13");
  EXPECT_TRUE(compat);
}

TEST_F(Choice, AWrongWordIsAnsweredWithTheChoices) {
  EXPECT_EQ(parse({"--to", "xml"}), "--to xml: choose blockml, jsonl or yaml");
  EXPECT_EQ(parse({"--to", "yaml", "--rating", ""}), "--rating : choose pg13, explicit or unknown");
  EXPECT_EQ(parse({"--to", "yaml", "--compat", "7"}), "--compat 7: choose 0.6");
  EXPECT_EQ(parse({"--to", "yaml", "--rating", "a\x1b[31m"}), "--rating a\\x1b[31m: choose pg13, explicit or unknown");
}

TEST_F(Choice, HelpShowsTheWords) {
  const std::string help = app.help();
  EXPECT_NE(help.find("--to [blockml|jsonl|yaml] REQUIRED"), std::string::npos) << help;
  EXPECT_NE(help.find("--from [blockml|jsonl|yaml] "), std::string::npos) << help;
}

}  // namespace
}  // namespace shori
