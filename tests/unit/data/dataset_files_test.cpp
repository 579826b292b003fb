// Which files an entry names, in which order, under which names.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/data/dataset_fixture.h"

namespace shori {
namespace {

class DataFiles : public DatasetTest {
 protected:
  void write_text(const std::string& name) { folder.write(name, "▀message\n" + std::to_string(++count_) + "▄\n"); }
  Texts files_of(const DataEntry& source) {
    const Dataset dataset = load({source});
    Texts paths;
    for (const DataFile& file : dataset.files) paths.push_back(file.path);
    ignored_ = dataset.ignored_files;
    return paths;
  }
  Texts ignored_;
  int count_ = 0;
};

TEST_F(DataFiles, AFolderIsReadRecursivelyByPathBytes) {
  for (const char* name : {"d/b.txt", "d/a/z.blockml", "d/B.txt", "d/.hidden.txt", "d/.git/x.txt", "d/a.txt"})
    write_text(name);
  folder.write("d/readme.md", "x");
  EXPECT_EQ(files_of(entry("d")), (Texts{"d/B.txt", "d/a.txt", "d/a/z.blockml", "d/b.txt"}));
  EXPECT_EQ(ignored_, (Texts{"d/readme.md"}));
  EXPECT_EQ(files_of(entry("d/")), (Texts{"d/B.txt", "d/a.txt", "d/a/z.blockml", "d/b.txt"}));
  EXPECT_TRUE(problems().empty());
}

TEST_F(DataFiles, TypesByExtensionInOneFolder) {
  write_text("d/a.txt");
  folder.write("d/b.jsonl", text_line("▀message\nx▄\n"));
  EXPECT_EQ(files_of(entry("d")), (Texts{"d/a.txt", "d/b.jsonl"}));
  EXPECT_EQ(files_of(entry("d", "blockml")), (Texts{"d/a.txt"}));
  EXPECT_EQ(ignored_, (Texts{"d/b.jsonl"}));
}

TEST_F(DataFiles, Globs) {
  for (const char* name : {"d/a1.txt", "d/a2.txt", "d/b1.txt", "d/x/a1.txt", "d/x/y/a1.txt", "d/.a1.txt"})
    write_text(name);
  EXPECT_EQ(files_of(entry("d/a*.txt")), (Texts{"d/a1.txt", "d/a2.txt"}));
  EXPECT_EQ(files_of(entry("d/?1.txt")), (Texts{"d/a1.txt", "d/b1.txt"}));
  EXPECT_EQ(files_of(entry("d/*/a1.txt")), (Texts{"d/x/a1.txt"}));
  EXPECT_EQ(files_of(entry("d/**/a1.txt")), (Texts{"d/a1.txt", "d/x/a1.txt", "d/x/y/a1.txt"}));
  EXPECT_EQ(files_of(entry("d/**")), (Texts{"d/a1.txt", "d/a2.txt", "d/b1.txt", "d/x/a1.txt", "d/x/y/a1.txt"}));
  EXPECT_EQ(files_of(entry("*/x/*")), (Texts{"d/x/a1.txt"}));
  EXPECT_TRUE(problems().empty());
}

TEST_F(DataFiles, NamesFollowThePathAsWritten) {
  write_text("data/d/a.txt");
  DataEntry source = entry("./d/*.txt");
  source.resolved_path = folder.file("data/d/*.txt");
  EXPECT_EQ(files_of(source), (Texts{"d/a.txt"}));
  source.path = "../data/d";
  source.resolved_path = folder.file("data/d");
  EXPECT_EQ(files_of(source), (Texts{"../data/d/a.txt"}));
}

TEST_F(DataFiles, MessagesOfAConfigNameTheResolvedPathAndIdsThatAsWritten) {
  folder.write("data/d/a.txt", "▀mesage\n1▄\n");
  folder.write("data/d/b.txt", "▀message\n1▄\n");
  folder.write("data/d/c.md", "x");
  DataEntry source = entry("../data/d/*");
  source.resolved_path = folder.file("data/d/*");
  source.in_config = true;
  const Dataset dataset = load({source});
  EXPECT_EQ(problems(), (Texts{"E0302 " + folder.file("data/d/a.txt") + ":1:2"}));
  EXPECT_EQ(dataset.ignored_files, (Texts{folder.file("data/d/c.md")}));
  EXPECT_EQ(ids_of(dataset), (Texts{"../data/d/a.txt", "../data/d/b.txt"}));
}

TEST_F(DataFiles, AFileWithAWildcardInItsNameIsItself) {
  write_text("a*.txt");
  write_text("ab.txt");
  EXPECT_EQ(files_of(entry("a*.txt")), (Texts{"a*.txt"}));
}

TEST_F(DataFiles, LinksToFoldersAreNotFollowed) {
  write_text("d/a.txt");
  std::filesystem::create_directory_symlink(folder.file("d"), folder.file("d/loop"));
  EXPECT_EQ(files_of(entry("d")), (Texts{"d/a.txt"}));
  EXPECT_EQ(ignored_, (Texts{"d/loop/"}));
  EXPECT_EQ(files_of(entry("d/**/a.txt")), (Texts{"d/a.txt"}));
}

TEST_F(DataFiles, NoFile) {
  EXPECT_TRUE(files_of(entry("missing.txt")).empty());
  ASSERT_EQ(problems(), (Texts{"E0315 config.yaml:7"}));
  EXPECT_EQ(diagnostics.all()[0].message, "`datasets` matches no file: missing.txt");
  files_of(entry("hi*.txt"));
  EXPECT_EQ(problems(), (Texts{"E0315 config.yaml:7"}));
  files_of(entry("no/such/**/x.txt"));
  EXPECT_EQ(problems(), (Texts{"E0315 config.yaml:7"}));
}

TEST_F(DataFiles, TypesThatAreNotKnown) {
  write_text("a.txt");
  folder.write("notes.md", "x");
  files_of(entry("a.txt", "alpaca"));
  EXPECT_NE(diagnostics.all()[0].message.find("unknown type `alpaca`"), std::string::npos);
  files_of(entry("notes.md"));
  ASSERT_EQ(problems(), (Texts{"E0315 config.yaml:7"}));
  EXPECT_NE(diagnostics.all()[0].notes[0].find("of another kind: notes.md"), std::string::npos);
}

}  // namespace
}  // namespace shori
