#include "shori/util/atomic_file.h"

#include <gtest/gtest.h>

#include "shori/util/error.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

std::string content(const TemporaryFolder& folder, const std::string& name) {
  return read_whole_file(InputFile::open(folder.path() + "/" + name), 1 << 20, "E0214");
}

TEST(AtomicFile, AppearsOnlyWhenItIsComplete) {
  const TemporaryFolder folder;
  folder.write("data", "old");
  {
    AtomicFile file(folder.path(), "data", 1000);
    file.write("new ", 4);
    EXPECT_EQ(content(folder, "data"), "old");
    file.write("content", 7);
    file.commit();
  }
  EXPECT_EQ(content(folder, "data"), "new content");
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"data"});
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  {
    AtomicFile(folder.path(), "data", 10).write("half", 4);
  }
  EXPECT_TRUE(list_directory(folder.path()).empty());
}

TEST(AtomicFile, WritesOverWhatAKilledProgramLeft) {
  const TemporaryFolder folder;
  folder.write(".data.tmp", std::string(5000, 'x'));
  AtomicFile file(folder.path(), "data", 3);
  file.write("abc", 3);
  file.commit();
  EXPECT_EQ(content(folder, "data"), "abc");
}

TEST(AtomicFile, SecondWriterIsRefusedAndHarmsNothing) {
  const TemporaryFolder folder;
  AtomicFile first(folder.path(), "data", 3);
  first.write("a", 1);
  try {
    AtomicFile second(folder.path(), "data", 3);
    FAIL() << "two writers of one file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0513");
  }
  first.write("bc", 2);
  first.commit();
  EXPECT_EQ(content(folder, "data"), "abc");
}

TEST(AtomicFile, AFolderThatIsNotThereIsNamed) {
  const TemporaryFolder folder;
  try {
    AtomicFile file(folder.path() + "/none", "data", 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0513");
  }
}

}  // namespace
}  // namespace shori
