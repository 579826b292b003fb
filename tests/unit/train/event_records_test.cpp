#include "src/train/files/event_records.h"

#include <gtest/gtest.h>

#include <string>

#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "src/train/files/event_file.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

constexpr double kTime = 1700000000.0;

std::string hex(const std::string& bytes) { return to_hex(bytes.data(), bytes.size()); }

TEST(EventRecords, ChecksumIsTheCastagnoliCrc) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

// The expected bytes were computed by a script that knows only the formats of records and protocol buffers.
TEST(EventRecords, FirstRecordOfAFile) {
  EXPECT_EQ(hex(version_record(kTime)),
            "1800000000000000a37f4b22090000"
            "0040fc54d9411a0d627261696e2e4576656e743a32eced8f9d");
}

TEST(EventRecords, Scalar) {
  EXPECT_EQ(hex(scalar_record({kTime, 10}, "train/loss", 1.5)),
            "200000000000000029eda950090000"
            "0040fc54d941100a2a130a110a0a747261696e2f6c6f7373150000c03f458e5db5");
}

TEST(EventRecords, StartOfASession) {
  EXPECT_EQ(hex(session_start_record({kTime, 118})),
            "0f000000000000006d532b09090000"
            "0040fc54d94110763a020801c93e486a");
}

TEST(EventRecords, Text) {
  EXPECT_EQ(hex(text_record({kTime, 10}, "sample/0", "▀message\nReimu: Hi▄")),
            "53000000000000000d7d4e91090000"
            "0040fc54d941100a2a460a440a1573616d706c652f302f746578745f73756d6d61727942210807120412020801421"
            "7e296806d6573736167650a5265696d753a204869e296844a080a060a04746578747ffa35d9");
}

TEST(EventFile, TheShareOfThePeakIsAScalarWhereItIsKnown) {
  using std::string_literals::operator""s;
  const std::string scalar = "speed/share_of_peak\x15\x00\x00\xc0\x3e"s;  // 0.375
  for (const char* share : {R"(,"share_of_peak":0.375)", ""}) {
    const TemporaryFolder folder;
    EventFile events = EventFile::create(folder.path(), {});
    events.add_timing(concat(R"({"step":10,"tokens_per_second":640.0)", share, "}"));
    events.write();
    const std::string written = folder.read("events/" + list_directory(folder.file("events")).at(0));
    EXPECT_NE(written.find("speed/tokens_per_second"), std::string::npos);
    EXPECT_EQ(written.find(scalar) != std::string::npos, *share != '\0') << share;
    EXPECT_EQ(written.find("share_of_peak") != std::string::npos, *share != '\0') << share;
  }
}

TEST(EventRecords, StepZeroIsLeftOut) {
  const std::string at_zero = scalar_record({kTime, 0}, "t", 1), at_one = scalar_record({kTime, 1}, "t", 1);
  EXPECT_EQ(at_zero.size() + 2, at_one.size());
}

TEST(EventRecords, FenceIsLongerThanAnyInTheText) {
  EXPECT_EQ(fenced("*a* _b_"), "```\n*a* _b_\n```\n");
  EXPECT_EQ(fenced("x\n````\ny\n"), "`````\nx\n````\ny\n`````\n");
}

}  // namespace
}  // namespace shori
