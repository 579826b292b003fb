#include "src/chat/terminal/paste_filter.h"

#include <gtest/gtest.h>

#include <string>

#include "shori/util/utf8.h"

namespace shori {
namespace {

std::string passed(PasteFilter& filter, std::string_view sent) {
  std::string shown;
  for (const char c : sent) filter.add(static_cast<unsigned char>(c));
  while (!filter.empty()) append_utf8(shown, filter.take());
  return shown;
}

TEST(PasteFilterTest, KeysPassUnchanged) {
  PasteFilter filter;
  for (const char* keys : {"typed\r", "\x1b[A", "\x1b[2~", "\x1b[20~", "\x1b\x1b[C",
                           "\x1b"
                           "b",
                           "\t", "\x03\x04"})
    EXPECT_EQ(passed(filter, keys), keys);
}

TEST(PasteFilterTest, PastedLinesAreOne) {
  PasteFilter filter;
  EXPECT_EQ(passed(filter, "a \x1b[200~one\ntwo\rthree\r\n\r\nfour\x1b[201~ b\r"), "a one\\ntwo\\nthree\\n\\nfour b\r");
  EXPECT_EQ(passed(filter, "\x1b[200~\n/x\n\n\x1b[201~"), "\\n/x") << "line ends after the last line are dropped";
  EXPECT_EQ(passed(filter, "\x1b[200~\x1b[201~\x1b[201~"), "");
}

TEST(PasteFilterTest, NothingPastedIsACommand) {
  PasteFilter filter;
  EXPECT_EQ(passed(filter,
                   "\x1b[200~a\tb\x04"
                   "c\x1b[Ad\x1b[200~e\x1b\x1b[201~"),
            "a\x16\tb\xEF\xBF\xBD"
            "c\xEF\xBF\xBD[Ade\xEF\xBF\xBD");
}

TEST(PasteFilterTest, AMarkMayArriveInHalves) {
  PasteFilter filter;
  EXPECT_EQ(passed(filter, "\x1b[20"), "");
  EXPECT_EQ(passed(filter, "0~x\n"), "x");
  filter.reset();
  EXPECT_EQ(passed(filter, "\r"), "\r") << "an interrupt ends the paste";
}

}  // namespace
}  // namespace shori
