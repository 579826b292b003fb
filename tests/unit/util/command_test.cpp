#include "shori/util/command.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "shori/util/text.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

// What bash makes of the word.
std::string word_in_bash(const std::string& word) {
  const std::string script = "bash -c " + shell_word("printf %s " + word);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(script.c_str(), "r"), pclose);
  std::string out;
  for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) out += static_cast<char>(c);
  return out;
}

TEST(ShellWord, PlainWordsStayAsTheyAre) {
  for (const char* text : {"recipe.yaml", "--set", "learning_rate=5e-5", "./a/b_c-d:12", "straße"}) {
    EXPECT_EQ(shell_word(text), text);
  }
}

TEST(ShellWord, AShellReadsBackWhatWasQuoted) {
  for (const std::string text : {"", "my recipe.yaml", "it's", "$HOME", "`ls`", "a\\b", "*", "a -> b", "[1, 2]", "~/x",
                                 "a\nb", "tab\there", "\x9b", "\"quoted\"", "#5", "a;b", "{a,b}", "!!", "it's\n'\\"}) {
    EXPECT_EQ(word_in_bash(shell_word(text)), text) << shell_word(text);
  }
}

TEST(ShellWord, ShowsNoControlCharacter) {
  for (const char c : shell_word("a\x1b[31m\nb")) EXPECT_GE(c, ' ');
}

TEST(FileCommands, ReplaceTheTargetOfALinkAndOverwriteNoOtherFile) {
  TemporaryFolder folder;
  const std::string target = std::filesystem::canonical(folder.write("my file", "abc")).string();
  const std::string link = folder.path() + "/link";
  std::filesystem::create_symlink(target, link);
  EXPECT_EQ(sed_command("s/a/b/", link), "sed -i s/a/b/ " + shell_word(target));
  EXPECT_EQ(sed_command("s/a/b/", "no file"), "sed -i s/a/b/ 'no file'");
  folder.write("my file.new", "mine");
  const std::string made = shell_word(target + ".new.new");
  EXPECT_EQ(rewrite_command("cat", link),
            concat("cat ", shell_word(target), " > ", made, " && mv ", made, ' ', shell_word(target)));
  EXPECT_EQ(rewrite_command("cat", "f", "tr a b"), "cat f | tr a b > f.new && test -s f.new && mv f.new f");
}

TEST(ProgramCommand, IsCalledAsThisProgramWas) {
  set_called_as("shori-data");
  EXPECT_EQ(program_command("shori-train"), "shori-train");
  set_called_as("build/release/bin/shori-data");
  EXPECT_EQ(program_command("shori-train"), "build/release/bin/shori-train");
  EXPECT_EQ(program_command("shori-data"), "build/release/bin/shori-data");
  set_called_as("/my programs/shori-train");
  EXPECT_EQ(program_command("shori-export"), "'/my programs/shori-export'");
  set_called_as("bin/shori-train-emulated");
  EXPECT_EQ(program_command("shori-train"), "bin/shori-train-emulated");
  set_called_as("");
}

}  // namespace
}  // namespace shori
