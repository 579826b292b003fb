// Memory that hostile texts take. Here and not among the unit tests, because those run with sanitizers, which take memory of their own.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "shori/data/blockml.h"

namespace shori {
namespace {

TEST(BoundedMemory, HostileTextsAreRefusedInBoundedMemory) {
  std::vector<std::string> texts;
  texts.push_back(std::string(kConversationBytes + 1, 'a'));
  std::string lines;
  for (const char* piece : {"[INST]\n", "▀title\n", "▀message (length: tiny)\n", "stray▄\n", "▀\n"}) {
    lines.clear();
    while (lines.size() < kConversationBytes / 8) lines += piece;
    texts.push_back(lines);
  }
  texts.push_back("▀message\n" + std::string(kConversationBytes / 2, '<') + "▄\n");
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::string& text : texts) {
    Diagnostics diagnostics;
    EXPECT_FALSE(parse_blockml(text, {"f", 0}, diagnostics).has_value());
    EXPECT_TRUE(diagnostics.has_errors());
    EXPECT_LE(diagnostics.all().size(), 51u);
    for (const Diagnostic& problem : diagnostics.all()) EXPECT_LE(problem.location.source_line.size(), 65536u);
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LE(after.ru_maxrss - before.ru_maxrss, 16 * 1024) << "KiB above the texts themselves";
}

}  // namespace
}  // namespace shori
