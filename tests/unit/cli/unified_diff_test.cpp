#include "src/cli/data/unified_diff.h"

#include <gtest/gtest.h>

#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace shori {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// What `patch` makes of it; checks the line numbers and the context on the way.
std::vector<std::string> patched(const std::vector<std::string>& before, const std::string& diff) {
  std::vector<std::string> result;
  std::size_t done = 0;
  for (const std::string& row : lines_of(diff)) {
    if (row.starts_with("--- ") || row.starts_with("+++ ")) continue;
    std::size_t begin = 0, count = 0;
    if (std::sscanf(row.c_str(), "@@ -%zu,%zu", &begin, &count) == 2) {
      const std::size_t first = count == 0 ? begin : begin - 1;
      while (done < first) result.push_back(before.at(done++));
    } else if (row[0] == '+') {
      result.push_back(row.substr(1));
    } else {
      EXPECT_EQ(before.at(done), row.substr(1));
      if (row[0] == ' ') result.push_back(before[done]);
      ++done;
    }
  }
  while (done < before.size()) result.push_back(before[done++]);
  return result;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(UnifiedDiff, ShowsHunksWithContext) {
  EXPECT_EQ(unified_diff("a", "x\n", "x\n"), "");
  EXPECT_EQ(unified_diff("a", "1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\n6\n"),
            "--- a\n+++ a (fixed)\n@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+five\n 6\n");
  EXPECT_EQ(unified_diff("a", "", "x\n"), "--- a\n+++ a (fixed)\n@@ -0,0 +1,1 @@\n+x\n");
}

TEST(UnifiedDiff, PatchesRandomTexts) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> before, after;
    for (std::size_t i = random() % 40; i > 0; --i) before.push_back(std::to_string(random() % 8));
    for (const std::string& line : before) {
      if (random() % 6 != 0) after.push_back(line);
      if (random() % 6 == 0) after.push_back(std::to_string(random() % 8));
    }
    EXPECT_EQ(patched(before, unified_diff("a", joined(before), joined(after))), after);
  }
}

TEST(UnifiedDiff, OfTextsThatHaveNothingInCommonEndsSoon) {
  std::vector<std::string> before, after;
  for (int i = 0; i < 5000; ++i) {
    before.push_back("a" + std::to_string(i));
    after.push_back("b" + std::to_string(i));
  }
  EXPECT_EQ(patched(before, unified_diff("a", joined(before), joined(after))), after);
}

}  // namespace
}  // namespace shori
