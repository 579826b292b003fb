#include "shori/util/user_path.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace shori {
namespace {

class UserPathTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("HOME", "/people/aya", 1);
    setenv("SHORI_TEST_DATA_DIR", "/mnt/data", 1);
    setenv("SHORI_TEST_HOME_PART", "~/deep", 1);
    setenv("SHORI_TEST_EMPTY", "", 1);
    unsetenv("SHORI_TEST_UNSET");
  }
};

TEST_F(UserPathTest, Expands) {
  struct Case {
    const char *written, *path, *why;
  };
  const Case cases[] = {
      {.written = "~", .path = "/people/aya", .why = "the home folder"},
      {.written = "~/x", .path = "/people/aya/x", .why = "a path in it"},
      {.written = "~daemon/x", .path = "/usr/sbin/x", .why = "the home folder of another user"},
      {.written = "$SHORI_TEST_DATA_DIR/x", .path = "/mnt/data/x", .why = "a variable"},
      {.written = "${SHORI_TEST_DATA_DIR}x/y", .path = "/mnt/datax/y", .why = "braces end the name"},
      {.written = "a/$SHORI_TEST_DATA_DIR.b", .path = "a//mnt/data.b", .why = "a dot ends the name"},
      {.written = "$SHORI_TEST_HOME_PART/x",
       .path = "/people/aya/deep/x",
       .why = "a variable whose value begins with the home folder"},
      {.written = "plain/x", .path = "plain/x", .why = "nothing to expand"},
      {.written = "a~b/c~", .path = "a~b/c~", .why = "a tilde inside of names"},
      {.written = "price 5$", .path = "price 5$", .why = "a dollar sign at the end"},
      {.written = "$5/x", .path = "$5/x", .why = "no name begins with a digit"},
      {.written = "a$/b", .path = "a$/b", .why = "a dollar sign before a slash"},
      {.written = "", .path = "", .why = "no path"},
  };
  for (const auto& [written, path, why] : cases) {
    const UserPath found = expand_user_path(written);
    EXPECT_EQ(found.path, path) << why;
    EXPECT_EQ(found.problem, "") << why;
    EXPECT_EQ(found.changed, found.path != written) << why;
  }
}

TEST_F(UserPathTest, ProblemsAreNamed) {
  struct Case {
    const char *written, *problem, *why;
  };
  const Case cases[] = {
      {.written = "$SHORI_TEST_UNSET/x",
       .problem = "the variable `SHORI_TEST_UNSET` is not set",
       .why = "a variable that is not set"},
      {.written = "~/${SHORI_TEST_UNSET}",
       .problem = "the variable `SHORI_TEST_UNSET` is not set",
       .why = "not set, in braces, after what can be expanded"},
      {.written = "${SHORI_TEST_EMPTY}/x",
       .problem = "the variable `SHORI_TEST_EMPTY` is empty",
       .why = "a variable without a value"},
      {.written = "~no-such-user-here/x",
       .problem = "there is no user `no-such-user-here` with a home folder",
       .why = "an unknown user"},
      {.written = "${SHORI_TEST_DATA_DIR:-x}/y",
       .problem = "`${SHORI_TEST_DATA_DIR:-x}` is not of the form `${NAME}`",
       .why = "a form of shells that is not read"},
      {.written = "./~/x",
       .problem = "`~` stands for the home folder only at the start of a path",
       .why = "a tilde after ./"},
      {.written = "runs/~",
       .problem = "`~` stands for the home folder only at the start of a path",
       .why = "a tilde at the end"},
  };
  for (const auto& [written, problem, why] : cases) EXPECT_EQ(expand_user_path(written).problem, problem) << why;
  EXPECT_EQ(expand_user_path("~/$SHORI_TEST_UNSET").path, "/people/aya/$SHORI_TEST_UNSET");
}

// A file whose name only looks like one of these forms, and a folder that an old mistake left.
TEST_F(UserPathTest, WhatExistsAsWrittenIsTakenAsWritten) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "shori_user_path";
  std::filesystem::create_directories(folder / "~");
  std::ofstream(folder / "cost$SHORI_TEST_UNSET.txt") << "x";
  EXPECT_EQ(expand_user_path("cost$SHORI_TEST_UNSET.txt", folder.string()).problem, "");
  EXPECT_EQ(expand_user_path("./~/run", folder.string()).problem, "");
  EXPECT_EQ(expand_user_path("~/run", folder.string()).path, "/people/aya/run");
  std::filesystem::remove_all(folder);
}

TEST_F(UserPathTest, WithoutHomeTheAccountsFolderIsUsed) {
  unsetenv("HOME");
  EXPECT_EQ(expand_user_path("~/x").path.substr(0, 1), "/");
  EXPECT_EQ(path_variable("SHORI_TEST_UNSET"), "");
  EXPECT_EQ(path_variable("SHORI_TEST_EMPTY"), "");
}

}  // namespace
}  // namespace shori
