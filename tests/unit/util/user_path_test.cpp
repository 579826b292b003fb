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
  const std::pair<const char*, const char*> cases[] = {
      {"~", "/people/aya"},
      {"~/x", "/people/aya/x"},
      {"~daemon/x", "/usr/sbin/x"},
      {"$SHORI_TEST_DATA_DIR/x", "/mnt/data/x"},
      {"${SHORI_TEST_DATA_DIR}x/y", "/mnt/datax/y"},
      {"a/$SHORI_TEST_DATA_DIR.b", "a//mnt/data.b"},
      {"$SHORI_TEST_HOME_PART/x", "/people/aya/deep/x"},
      {"plain/x", "plain/x"},
      {"a~b/c~", "a~b/c~"},
      {"price 5$", "price 5$"},
      {"$5/x", "$5/x"},
      {"a$/b", "a$/b"},
      {"", ""},
  };
  for (const auto& [written, path] : cases) {
    const UserPath found = expand_user_path(written);
    EXPECT_EQ(found.path, path) << written;
    EXPECT_EQ(found.problem, "") << written;
    EXPECT_EQ(found.changed, found.path != written) << written;
  }
}

TEST_F(UserPathTest, ProblemsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"$SHORI_TEST_UNSET/x", "the variable `SHORI_TEST_UNSET` is not set"},
      {"~/${SHORI_TEST_UNSET}", "the variable `SHORI_TEST_UNSET` is not set"},
      {"${SHORI_TEST_EMPTY}/x", "the variable `SHORI_TEST_EMPTY` is empty"},
      {"~no-such-user-here/x", "there is no user `no-such-user-here` with a home folder"},
      {"${SHORI_TEST_DATA_DIR:-x}/y", "`${SHORI_TEST_DATA_DIR:-x}` is not of the form `${NAME}`"},
      {"./~/x", "`~` stands for the home folder only at the start of a path"},
      {"runs/~", "`~` stands for the home folder only at the start of a path"},
  };
  for (const auto& [written, problem] : cases) EXPECT_EQ(expand_user_path(written).problem, problem) << written;
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
