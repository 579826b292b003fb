// Text files as editors save them, in chunks of any size, and the commands for those that cannot be read.
#include "src/data/blockml/text_stream.h"

#include <gtest/gtest.h>

#include "shori/data/plain_text.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

class TextStreamTest : public testing::Test {
 protected:
  std::string read(const std::string& bytes, LineEnds line_ends = LineEnds::kNormalize) {
    const InputFile file = InputFile::open(folder.write("a" + std::to_string(++files), bytes));
    TextStream stream(file, line_ends);
    std::string text;
    stream.read_all(text);
    changes = stream.changes();
    EXPECT_EQ(stream.sha256(), sha256_hex(bytes));
    return text;
  }
  std::uint64_t times(TextChange change) { return count_of(changes, change); }

  TemporaryFolder folder;
  TextChanges changes{};
  int files = 0;
};

TEST_F(TextStreamTest, LineEnds) {
  EXPECT_EQ(read("a\r\nb\rc\n\r\r\n"), "a\nb\nc\n\n\n");
  EXPECT_EQ(times(TextChange::kLineEnd), 4u);
  EXPECT_EQ(read("a\r\nb\r", LineEnds::kKeep), "a\r\nb\r");
  EXPECT_EQ(changes, TextChanges{});
}

TEST_F(TextStreamTest, ALineEndOnTheBorderOfTwoChunksIsOne) {
  const std::string full((1u << 20) - 1, 'x');
  EXPECT_EQ(read(full + "\r\nb\r\n"), full + "\nb\n");
  EXPECT_EQ(read(full + "\r\rb"), full + "\n\nb");
  EXPECT_EQ(read(full + "\r"), full + "\n");
}

TEST_F(TextStreamTest, ByteOrderMarkAtTheStartOnly) {
  EXPECT_EQ(read("\xEF\xBB\xBFx\xEF\xBB\xBF"), "x\xEF\xBB\xBF");
  EXPECT_EQ(times(TextChange::kByteOrderMark), 1u);
  EXPECT_EQ(read(""), "");
}

TEST_F(TextStreamTest, Utf16OfBothOrdersWithAndWithoutMark) {
  using namespace std::string_literals;
  for (const std::string& bytes : {"\xFF\xFE\x80\x25x\0\r\0\n\0"s, "\xFE\xFF\x25\x80\0x\0\r\0\n"s}) {
    EXPECT_EQ(read(bytes), "▀x\n");
    EXPECT_EQ(times(TextChange::kUtf16), 1u);
    EXPECT_EQ(times(TextChange::kLineEnd), 1u);
  }
  EXPECT_EQ(read("a\0b\0c\0d\0"s), "abcd");
  EXPECT_EQ(read("\0a\0b\0c\0d"s), "abcd");
  EXPECT_EQ(read("ab\0cd\0ef"s), "ab\0cd\0ef"s) << "a few zeros are not UTF-16";
}

TEST_F(TextStreamTest, PlainTextIsReadByTheSameRule) {
  using namespace std::string_literals;
  EXPECT_EQ(plain_text("\xFF\xFE\x80\x25x\0\r\0\n\0"s, "f"), "▀x\n");
  EXPECT_EQ(plain_text("\xEF\xBB\xBF"
                       "a\r\nb\rc",
                       "stdin"),
            "a\nb\nc");
  for (const std::string& bytes : {"\x1F\x8B\x08"s, "\xFF\xFE\0\0a\0\0\0"s, "caf\xE9"s, "a\0b"s})
    EXPECT_THROW(plain_text(bytes, "f"), Error);
}

TEST_F(TextStreamTest, HalvesOfPairsInUtf16) {
  using namespace std::string_literals;
  EXPECT_EQ(read("\xFF\xFE\x3D\xD8\x00\xDE"s), "😀");
  EXPECT_EQ(read("\xFF\xFE\x3D\xD8x\0\x00\xDEy\0\x3D\xD8z"s), "xy");
  EXPECT_EQ(times(TextChange::kHalf), 4u);
}

TEST_F(TextStreamTest, WhatIsNoTextIsRefusedWithItsCommand) {
  using namespace std::string_literals;
  struct Case {
    std::string bytes;  // the first of the file
    const char *command, *form;
  };
  const Case cases[] = {
      {.bytes = "\x1F\x8B\x08",
       .command = "gzip -dc < 'my file' > 'my file.new' && mv 'my file.new' 'my file'",
       .form = "gzip"},
      {.bytes = "\x28\xB5\x2F\xFD", .command = "zstd -dc < ", .form = "Zstandard"},
      {.bytes = "\xFD\x37zXZ\0"s, .command = "xz -dc < ", .form = "xz"},
      {.bytes = "BZh9", .command = "bzip2 -dc < ", .form = "bzip2"},
      {.bytes = "PK\x03\x04", .command = "unzip -p ", .form = "zip"},
      {.bytes = "\xFF\xFE\0\0a\0\0\0"s, .command = "iconv -f utf-32 -t utf-8 ", .form = "UTF-32"},
  };
  for (const auto& [bytes, command, form] : cases) {
    const InputFile file = InputFile::open(folder.write("b", bytes));
    const std::optional<Diagnostic> problem = refuse_file_form(file, "my file");
    ASSERT_TRUE(problem.has_value()) << form;
    EXPECT_EQ(problem->code, "E0304");
    EXPECT_NE(problem->helps.front().find(command), std::string::npos) << problem->helps.front();
  }
  EXPECT_FALSE(refuse_file_form(InputFile::open(folder.write("b", "PK is a text")), "b"));
}

TEST_F(TextStreamTest, TheCommandForAWrongByteDependsOnTheRest) {
  EXPECT_NE(utf8_command("f", "caf\xE9").find("-f cp1252"), std::string::npos);
  EXPECT_NE(utf8_command("f", "caf\xE9 \x81").find("-f latin1"), std::string::npos);
  EXPECT_NE(utf8_command("f", "é caf\xE9").find("iconv -c -f utf-8"), std::string::npos);
}

}  // namespace
}  // namespace shori
