#include "shori/io/safetensors_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  const std::vector<NamedArray> arrays_ = {{"a", FileDType::kU8, {3}}, {"b", FileDType::kU8, {2}}};
  TemporaryFolder folder_;
};

TEST_F(SafetensorsWriterTest, HeaderThenTheBytesAsTheyCame) {
  SafetensorsWriter writer(folder_.file("f"), arrays_, {{"format", "pt"}});
  writer.append("\1\2", 2);
  writer.append("\3\4", 2);
  writer.append("\5", 1);
  writer.finish();
  EXPECT_EQ(folder_.read("f"), make_safetensors_header(arrays_, {{"format", "pt"}}) + "\1\2\3\4\5");
}

TEST_F(SafetensorsWriterTest, AnExistingFileIsNotTouched) {
  folder_.write("f", "old");
  try {
    SafetensorsWriter(folder_.file("f"), arrays_, {});
    FAIL() << "overwritten";
  } catch (const IoFailure& failure) {
    EXPECT_EQ(failure.call, "open");
    EXPECT_EQ(failure.error, EEXIST);
  }
  EXPECT_EQ(folder_.read("f"), "old");
}

TEST_F(SafetensorsWriterTest, MissingOrSurplusBytesAreRefused) {
  SafetensorsWriter writer(folder_.file("f"), arrays_, {});
  writer.append("\1\2\3\4", 4);
  EXPECT_ANY_THROW(writer.finish());
  EXPECT_ANY_THROW(writer.append("\5\6", 2));
}

}  // namespace
}  // namespace shori
