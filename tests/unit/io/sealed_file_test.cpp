#include "shori/io/sealed_file.h"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "shori/util/error.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

constexpr SealedFormat kFormat{.magic = "SHORITST", .label = "test-1", .version = 1};
constexpr std::size_t kManifestBytes = 256;

class SealedFileTest : public ::testing::Test {
 protected:
  std::vector<NamedArray> arrays() {
    return {{"a", FileDType::kF32, {2}, floats_.data()}, {"b", FileDType::kU8, {3}, bytes_.data()}};
  }
  static Json fields(std::uint64_t format = 1) { return {{"note", "é"}, {"format", format}}; }
  std::string written(const Json& manifest = fields(), const SealedFormat& format = kFormat) {
    std::string file;
    const SealedLayout layout(format, arrays(), kManifestBytes);
    SealedWriter writer(
        layout, [&](const void* data, std::size_t bytes) { file.append(static_cast<const char*>(data), bytes); });
    for (const NamedArray& array : arrays()) writer.append(array.data, array.bytes());
    writer.finish(manifest, 7);
    EXPECT_EQ(file.size(), layout.file_size());
    return file;
  }
  // Why the file is refused; "" if it is accepted.
  std::string problem(const std::string& content) {
    folder_.write("f", content);
    try {
      check_arrays(open_sealed_file(folder_.path(), "f", kFormat.magic));
      return "";
    } catch (const DamagedFile& damage) {
      return damage.reason;
    }
  }

  std::array<float, 2> floats_ = {1.0f, -2.0f};
  std::array<std::uint8_t, 3> bytes_ = {7, 8, 9};
  TemporaryFolder folder_;
};

// The digest is that of the same file put together by Python's struct, json and hashlib.
TEST_F(SealedFileTest, GoldenFile) {
  const std::string file = written();
  EXPECT_EQ(file.size(), 635u);
  EXPECT_EQ(sha256_hex(file), "0cd3e65f8e5c1ad0f769c87818d681e51062f25bc00d6e3cc7950547cf76f1f9");
}

TEST_F(SealedFileTest, ItsContentIsReadBack) {
  folder_.write("f", written());
  const SealedFile sealed = open_sealed_file(folder_.path(), "f", kFormat.magic);
  EXPECT_EQ(sealed.number, 7u);
  EXPECT_EQ(sealed.version, 1u);
  EXPECT_EQ(sealed.manifest.find("note")->text, "é");
  ASSERT_EQ(sealed.arrays().size(), 2u);
  EXPECT_EQ(sealed.arrays()[1].name, "b");
  EXPECT_EQ(sealed.recorded_sha256("b"), sha256_hex("\x07\x08\x09"));
  EXPECT_EQ(sealed.file.metadata().at("shori"), "test-1");
}

// One bit of every byte, and every bit of the seal. Only the number is left to whoever opens the file.
TEST_F(SealedFileTest, FlippedBitsAreFound) {
  const std::string good = written();
  ASSERT_EQ(problem(good), "");
  const std::size_t seal = good.size() - kSealBytes;
  const auto flipped = [&](std::size_t byte, std::size_t bit) {
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ (1 << bit));
    return problem(bad);
  };
  for (std::size_t byte = 0; byte < seal; ++byte) ASSERT_NE(flipped(byte, byte % 8), "") << byte;
  for (std::size_t byte = seal; byte < good.size(); ++byte) {
    for (std::size_t bit = 0; bit < 8; ++bit) {
      const bool of_number = byte >= seal + 16 && byte < seal + 24;
      ASSERT_EQ(flipped(byte, bit).empty(), of_number) << "bit " << bit << " of byte " << byte;
    }
  }
}

TEST_F(SealedFileTest, ReasonsNameWhatIsWrong) {
  const std::string good = written();
  EXPECT_EQ(problem(good.substr(0, good.size() - 64) + std::string(64, '\0')),
            "the seal is missing (the file was not finished)");
  std::string other_size = good;
  other_size[good.size() - 64 + 8] ^= 1;
  EXPECT_EQ(problem(other_size), "the seal does not match the file");
  std::string other_value = good;
  other_value[good.size() - 64 - kManifestBytes - 1] ^= 1;
  EXPECT_EQ(problem(other_value), "b: checksum differs");
  EXPECT_EQ(problem(written(fields(2))), "seal and manifest disagree about the format");
  EXPECT_EQ(problem(written(fields(), {"SHORIXYZ", "test-1", 1})), "the seal is missing (the file was not finished)");
}

TEST_F(SealedFileTest, ANewerVersionIsTheCallersDecision) {
  folder_.write("f", written(fields(2), {kFormat.magic, "test-2", 2}));
  EXPECT_EQ(open_sealed_file(folder_.path(), "f", kFormat.magic).version, 2u);
}

TEST_F(SealedFileTest, EmptyArraysHaveADigestToo) {
  std::string file;
  const std::vector<NamedArray> list = {
      {"none", FileDType::kU8, {0}}, {"a", FileDType::kF32, {2}, floats_.data()}, {"last", FileDType::kU8, {0, 3}}};
  const SealedLayout layout(kFormat, list, 512);
  SealedWriter writer(layout,
                      [&](const void* data, std::size_t bytes) { file.append(static_cast<const char*>(data), bytes); });
  for (const NamedArray& array : list) writer.append(array.data, array.bytes());
  writer.finish(fields(), 0);
  EXPECT_EQ(problem(file), "");
}

TEST_F(SealedFileTest, MissingOrSurplusBytesAreRefused) {
  const SealedLayout layout(kFormat, arrays(), kManifestBytes);
  SealedWriter writer(layout, [](const void*, std::size_t) {});
  writer.append(floats_.data(), 4);
  EXPECT_ANY_THROW(writer.append(floats_.data(), 8));
  EXPECT_ANY_THROW(writer.finish(fields(), 0));
}

TEST_F(SealedFileTest, ManifestMustFitItsSpace) {
  const std::size_t needed = manifest_text_bytes(fields(), arrays());
  for (const std::size_t bytes : {needed, needed - 1}) {
    const SealedLayout layout(kFormat, arrays(), bytes);
    SealedWriter writer(layout, [](const void*, std::size_t) {});
    for (const NamedArray& array : arrays()) writer.append(array.data, array.bytes());
    if (bytes == needed) {
      EXPECT_NO_THROW(writer.finish(fields(), 0));
    } else {
      EXPECT_ANY_THROW(writer.finish(fields(), 0));
    }
  }
}

}  // namespace
}  // namespace shori
