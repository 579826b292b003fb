#include "src/cli/program.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <stdexcept>
#include <vector>

#include "shori/util/error.h"

namespace shori {
namespace {

struct Outcome {
  int code;
  std::string out, err;
};

// A program with the commands `check [--format TEXT]`, `convert`, `fail` and `end`.
Outcome run(std::vector<std::string> arguments) {
  CLI::App app{"a program"};
  add_program_options(app, "program");
  app.require_subcommand(1);
  CLI::App* check = app.add_subcommand("check", "");
  std::string format;
  check->add_option("--format", format);
  check->callback([] { std::puts("checked"); });
  app.add_subcommand("convert", "")->callback([] { throw Error(Diagnostic("E0312", "bad data")); });
  app.add_subcommand("fail", "")->callback([] { throw std::runtime_error("a bug"); });
  app.add_subcommand("end", "")->callback([] { throw CLI::RuntimeError(75); });
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_program(app, static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  const std::string out = testing::internal::GetCapturedStdout();
  return {code, out, testing::internal::GetCapturedStderr()};
}

TEST(RunProgram, TheCallbackOfTheCommandDecidesTheExitCode) {
  const Outcome checked = run({"check"});
  EXPECT_EQ(checked.code, 0);
  EXPECT_EQ(checked.out, "checked\n");
  EXPECT_EQ(run({"convert"}).code, 3);
  EXPECT_EQ(run({"fail"}).code, 1);
  const Outcome ended = run({"end"});
  EXPECT_EQ(ended.code, 75);
  EXPECT_EQ(ended.err, "");
}

TEST(RunProgram, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_TRUE(run({"--version"}).out.starts_with("program "));
}

TEST(RunProgram, MisspeltCommandsAndOptionsAreAnsweredWithTheNearestOne) {
  struct Case {
    std::vector<std::string> arguments;
    std::string message, why;
  };
  const Case cases[] = {
      {.arguments = {"chek"},
       .message = "unknown command `chek`; did you mean `check`?",
       .why = "a command with a letter missing"},
      {.arguments = {"--json-errors", "chek", "--formt", "x"},
       .message = "unknown command `chek`; did you mean `check`?",
       .why = "the first wrong word counts"},
      {.arguments = {"zzzzzz"},
       .message = "unknown command `zzzzzz`; choose one of check, convert, fail, end",
       .why = "like no command"},
      {.arguments = {"check", "--formt", "x"},
       .message = "unknown option `--formt`; did you mean `--format`?",
       .why = "an option with a letter missing"},
      {.arguments = {"check", "--formt=x"},
       .message = "unknown option `--formt`; did you mean `--format`?",
       .why = "the same with its value"},
      {.arguments = {"check", "--zzzzzz"}, .message = "unknown option `--zzzzzz`", .why = "like no option"},
      {.arguments = {}, .message = "A subcommand is required", .why = "no command"},
      {.arguments = {"check", "x"},
       .message = "The following argument was not expected: x",
       .why = "one word too many"},
  };
  for (const auto& [arguments, message, why] : cases) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, kExitUsage) << why;
    EXPECT_TRUE(outcome.err.starts_with(message + "\n")) << why << ": " << outcome.err;
  }
}

}  // namespace
}  // namespace shori
